package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
	"github.com/crossfade-io/crossfade/test/traffic"
)

func TestRunIsControlledFromOutside(t *testing.T) {
	if _, err := lab.FindBinary("versitygw"); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	server, e, err := lab.StartVersityGW(ctx, dir, "127.0.0.1", "testkey", "testsecret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop(time.Second) })
	plan := seed.Config{Seed: 1, BucketPrefix: "ctl", Buckets: 1, Objects: 20, Conc: 4}
	if _, err := seed.Run(ctx, e, plan); err != nil {
		t.Fatal(err)
	}
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	f := runFlags{
		cfg:    traffic.Config{Endpoint: e, Clients: 2, KeysPerClient: 5, Rate: 100, Mix: map[traffic.Op]int{traffic.PutObject: 1, traffic.GetObject: 1}},
		seeded: filepath.Join(dir, "plan.json"), periodFile: filepath.Join(dir, "period"),
		control: fmt.Sprintf("127.0.0.1:%d", port), reportOut: filepath.Join(dir, "report.json"),
	}
	if err := writeJSON(f.seeded, plan); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()

	call := func(method, path string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+f.control+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	await := func(what string, done func() bool) {
		for !done() {
			select {
			case err := <-ended:
				t.Fatalf("ended before %s: %v", what, err)
			case <-ctx.Done():
				t.Fatalf("no %s", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	requests := func(period string) int64 {
		resp := call(http.MethodGet, "/report")
		if resp == nil {
			return 0
		}
		var rep traffic.Report
		if err := json.NewDecoder(resp.Body).Decode(&rep); err != nil {
			t.Fatal(err)
		}
		for _, p := range rep.Periods {
			if p.Name == period {
				return p.Requests
			}
		}
		return 0
	}
	await("requests", func() bool { return requests("before") > 0 })
	if err := os.WriteFile(f.periodFile, []byte("during\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	await("requests of the period in the file", func() bool { return requests("during") > 0 })
	if resp := call(http.MethodPost, "/period/after"); resp == nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("POST /period/after: %v", resp)
	}
	await("requests of the period posted", func() bool { return requests("after") > 0 })
	call(http.MethodPost, "/stop")
	if err := <-ended; err != nil {
		t.Errorf("a clean run ended with %v", err)
	}
	var rep traffic.Report
	if err := readJSON(f.reportOut, &rep); err != nil || rep.Requests == 0 || rep.Violations() != 0 {
		t.Errorf("report: %v %+v", err, rep)
	}
}

func TestViolationsFailTheRun(t *testing.T) {
	for name, rep := range map[string]traffic.Report{
		"error": {Errors: 1}, "stale": {StaleReads: 1}, "lost": {LostWrites: 1}, "listing": {WrongListings: 1}, "content": {WrongContent: 1},
	} {
		t.Run(name, func(t *testing.T) {
			if verdict(rep) == nil {
				t.Error("verdict is fine")
			}
		})
	}
	if err := verdict(traffic.Report{Broken: 3, InDoubt: 2}); err != nil {
		t.Errorf("allowed broken requests fail the run: %v", err)
	}
}

func TestControlPortStaysOnLoopback(t *testing.T) {
	for name, addr := range map[string]string{"any": "0.0.0.0:0", "empty": ":0", "name": "example.com:0"} {
		t.Run(name, func(t *testing.T) {
			if l, err := loopback(addr); err == nil {
				_ = l.Close()
				t.Errorf("listens on %s", addr)
			}
		})
	}
}
