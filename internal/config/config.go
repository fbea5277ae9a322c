// Package config reads what a role needs to know: the Migration's manifest and
// the Secrets that it names, from files. It applies the defaults and the checks
// of the CustomResourceDefinition itself, so that a manifest means the same with
// and without Kubernetes.
package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// Config is a manifest: a Migration and perhaps the Secrets that it names.
type Config struct {
	Migration *v1alpha1.Migration
	// Secrets that stand in the same file.
	Secrets MemorySecrets
}

// Load reads the manifest at path: YAML or JSON, one Migration and any number of
// Secrets. Unknown fields are errors.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse is [Load] for a manifest that has been read already.
func Parse(manifest []byte) (*Config, error) {
	c := &Config{Secrets: MemorySecrets{}}
	docs := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(manifest)))
	defer func() { _ = docs.Close() }()
	for n := 1; ; n++ {
		doc, err := readDocument(docs)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = c.add(doc)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
	}
	if c.Migration == nil {
		return nil, errors.New("holds no Migration: add a document with apiVersion: " +
			v1alpha1.GroupVersion.String() + " and kind: " + v1alpha1.KindMigration)
	}
	return c, nil
}

// readDocument returns the next YAML document, however long.
func readDocument(docs io.Reader) ([]byte, error) {
	var doc []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := docs.Read(buf)
		doc = append(doc, buf[:n]...)
		if !errors.Is(err, io.ErrShortBuffer) {
			return doc, err
		}
	}
}

func (c *Config) add(doc []byte) error {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return fmt.Errorf("not YAML: %w", err)
	}
	switch {
	case kind.APIVersion == "" && kind.Kind == "" && len(bytes.TrimSpace(stripComments(doc))) == 0:
		return nil
	case kind.APIVersion == v1alpha1.GroupVersion.String() && kind.Kind == v1alpha1.KindMigration:
		if c.Migration != nil {
			return errors.New("a second Migration: put one into each file")
		}
		m, err := parseMigration(doc)
		c.Migration = m
		return err
	case kind.APIVersion == "v1" && kind.Kind == "Secret":
		var s corev1.Secret
		if err := yaml.UnmarshalStrict(doc, &s); err != nil {
			return fmt.Errorf("invalid Secret: %w", err)
		}
		c.Secrets.Add(&s)
		return nil
	}
	return fmt.Errorf("kind %q of apiVersion %q: only a Migration of %s and Secrets belong here",
		kind.Kind, kind.APIVersion, v1alpha1.GroupVersion)
}

func stripComments(doc []byte) []byte {
	var out []byte
	for line := range bytes.Lines(doc) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			out = append(out, line...)
		}
	}
	return out
}

func parseMigration(doc []byte) (*v1alpha1.Migration, error) {
	asJSON, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return nil, fmt.Errorf("invalid Migration: %w", err)
	}
	// Typos first: the schema would only drop an unknown field. What does not
	// decode at all is the schema's to tell, in better words.
	if strict, err := kjson.UnmarshalStrict(asJSON, &v1alpha1.Migration{}); err == nil && len(strict) > 0 {
		return nil, fmt.Errorf("invalid Migration: %w", errors.Join(strict...))
	}
	obj := map[string]any{}
	if err := json.Unmarshal(asJSON, &obj); err != nil {
		return nil, fmt.Errorf("invalid Migration: %w", err)
	}
	r, err := loadRules()
	if err != nil {
		return nil, err
	}
	r.setDefaults(obj)
	if err := r.check(context.Background(), obj, nil); err != nil {
		return nil, err
	}
	m := &v1alpha1.Migration{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj, m); err != nil {
		return nil, fmt.Errorf("invalid Migration: %w", err)
	}
	return m, nil
}

// CheckChange says what is wrong with changing old into m: what an API server
// would refuse at kubectl apply. Both have their defaults; old has its status.
func CheckChange(old, m *v1alpha1.Migration) error {
	r, err := loadRules()
	if err != nil {
		return err
	}
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return fmt.Errorf("convert Migration: %w", err)
	}
	// A status never comes with the spec.
	m = m.DeepCopy()
	m.Status = old.Status
	after, err := runtime.DefaultUnstructuredConverter.ToUnstructured(m)
	if err != nil {
		return fmt.Errorf("convert Migration: %w", err)
	}
	return r.check(context.Background(), after, before)
}
