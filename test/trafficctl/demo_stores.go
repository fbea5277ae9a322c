package main

import (
	"bytes"
	"context"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/test/lab"
)

// The stores listen for as long as the demo lasts, on this machine alone.
const (
	sourceKey, sourceSecret = "demo-source", "demo-source-secret"
	targetKey, targetSecret = "demo-target", "demo-target-secret"
)

// startStores starts both S3 servers at once.
func (d *demo) startStores(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var g errgroup.Group
	stops := make([]func(), 2)
	g.Go(func() (err error) {
		stops[0], d.source, err = lab.StartRGW(ctx, d.root, d.work, d.host, sourceKey, sourceSecret)
		return err
	})
	g.Go(func() error {
		p, e, err := lab.StartVersityGW(ctx, d.work, d.host, targetKey, targetSecret)
		if err == nil {
			stops[1], d.target = func() { p.Stop(2 * time.Second) }, e
		}
		return err
	})
	err := g.Wait()
	for _, s := range stops {
		if s != nil {
			d.stops = append(d.stops, s)
		}
	}
	if err == nil {
		d.say("Source: Ceph object gateway at %s; target: versitygw at %s", d.source.URL, d.target.URL)
	}
	return err
}

var manifestText = template.Must(template.New("").Parse(`apiVersion: v1
kind: Secret
metadata: {name: old-s3}
stringData: {accessKeyID: {{.Source.AccessKey}}, secretAccessKey: {{.Source.SecretKey}}}
---
apiVersion: v1
kind: Secret
metadata: {name: new-s3}
stringData: {accessKeyID: {{.Target.AccessKey}}, secretAccessKey: {{.Target.SecretKey}}}
---
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: demo}
spec:
  source:
    endpoint: {{.Source.URL}}
    credentialsRef: {name: old-s3}
  target:
    endpoint: {{.Target.URL}}
    credentialsRef: {name: new-s3}
  buckets:
{{- range .Buckets}}
  - {name: {{.A}}, targetName: {{.B}}}
{{- end}}
`))

// manifestYAML is what is applied, the same on every platform.
func (d *demo) manifestYAML() ([]byte, error) {
	var text bytes.Buffer
	err := manifestText.Execute(&text, map[string]any{"Source": d.source, "Target": d.target, "Buckets": d.pairs()})
	return text.Bytes(), err
}
