package app

import (
	"context"
	"strings"
	"testing"
)

func TestProfilesAreForThisMachineOnly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for addr, want := range map[string]string{
		"127.0.0.1:0": "", "[::1]:0": "",
		":6060": "loopback", "0.0.0.0:6060": "loopback", "192.0.2.1:6060": "loopback", "localhost:6060": "loopback", "6060": "missing port",
	} {
		err := servePprof(ctx, addr)
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
		if want == "" && err != nil && strings.Contains(err.Error(), "--pprof") {
			t.Errorf("%s is refused: %v", addr, err)
		}
	}
}
