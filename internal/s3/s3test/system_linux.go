package s3test

import (
	"os/exec"
	"syscall"
)

// hasXattrs reports whether versitygw can keep metadata with the files.
func hasXattrs(dir string) bool {
	const name = "user.crossfade-test"
	if err := syscall.Setxattr(dir, name, []byte("1"), 0); err != nil {
		return false
	}
	return syscall.Removexattr(dir, name) == nil
}

// endsWithUs has the kernel end a server when its parent is killed, as fuzz
// workers and tests that take too long are.
func endsWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
