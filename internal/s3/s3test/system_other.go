//go:build !linux

package s3test

import "os/exec"

func hasXattrs(string) bool { return true }

func endsWithUs(*exec.Cmd) {}
