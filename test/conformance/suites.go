package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
)

// Names of the suites.
const (
	versitygwSuite         = "versitygw"
	versitygwVersionsSuite = "versitygw-versions"
	minioGoSuite           = "minio-go"
)

var clientSuites = []string{"awscli", "boto3", "s3cmd", "rclone", "restic", "mc", "sdk-js", sdkGoSuite}

func allSuites(root string) []suite {
	out := []suite{versitygw(versitygwSuite), versitygw(versitygwVersionsSuite, "-vs"), minioGo()}
	scripts := filepath.Join(root, "test/conformance/clients")
	for _, name := range clientSuites {
		out = append(out, client(scripts, name))
	}
	return out
}

func versitygw(name string, flags ...string) suite {
	return suite{name: name, needs: []string{"versitygw"}, single: true, panics: []string{kindRGW}, timeout: 40 * time.Minute,
		argv: func(e lab.Endpoint, cases []string) []string {
			bin, _ := lab.FindBinary("versitygw")
			base := []string{bin, "test", "-a", e.AccessKey, "-s", e.SecretKey, "-e", e.URL}
			if len(cases) == 0 {
				return append(append(base, "full-flow", "--parallel"), flags...)
			}
			return append(append(base, cases[0]), flags...)
		}}
}

func minioGo() suite {
	return suite{name: minioGoSuite, needs: []string{"minio-go-functional"}, single: true, timeout: 30 * time.Minute,
		argv: func(_ lab.Endpoint, cases []string) []string {
			bin, _ := lab.FindBinary("minio-go-functional")
			return []string{"env", "CASES=" + strings.Join(cases, ","), bin}
		},
		env: func(e lab.Endpoint) []string {
			u, _ := url.Parse(e.URL)
			return []string{"SERVER_ENDPOINT=" + u.Host, "ACCESS_KEY=" + e.AccessKey, "SECRET_KEY=" + e.SecretKey,
				"ENABLE_HTTPS=0", "ENABLE_KMS=0", "MINT_MODE=full", "RUN_ON_FAIL=1"}
		},
		parse: parseMint}
}

// parseMint reads the log lines of MinIO's test format.
func parseMint(line string) (string, result, bool) {
	if n, r, ok := parseCase(line); ok {
		return n, r, ok
	}
	var l struct{ Name, Status, Message, Alert, Error string }
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &l) != nil || l.Status == "" {
		return "", result{}, false
	}
	name := strings.ReplaceAll(strings.TrimPrefix(l.Name, "minio-go: "), " ", "_")
	switch l.Status {
	case "PASS":
		return name, result{verdict: pass}, true
	case "NA":
		return name, result{verdict: skip, why: l.Message}, true
	}
	return name, result{verdict: fail, why: strings.TrimSpace(l.Message + " " + l.Error)}, true
}

// client is a script that drives one real client.
func client(dir, name string) suite {
	s := suite{name: name, timeout: 15 * time.Minute}
	switch name {
	case "awscli":
		s.needs, s.argv = []string{"aws"}, script("bash", filepath.Join(dir, "awscli.sh"))
	case "boto3":
		s.needs, s.argv = []string{"python3"}, script("python3", filepath.Join(dir, "boto3_cases.py"))
	case sdkGoSuite:
		self, _ := os.Executable()
		s.argv = script(self, sdkGoSuite)
	case "sdk-js":
		s.needs, s.argv = []string{"node"}, script("node", filepath.Join(dir, "sdk.mjs"))
	default:
		s.needs, s.argv = []string{name}, script("bash", filepath.Join(dir, name+".sh"))
	}
	return s
}

func script(argv ...string) func(lab.Endpoint, []string) []string {
	return func(lab.Endpoint, []string) []string { return argv }
}
