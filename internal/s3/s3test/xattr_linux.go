package s3test

import "syscall"

// hasXattrs reports whether versitygw can keep metadata with the files.
func hasXattrs(dir string) bool {
	const name = "user.crossfade-test"
	if err := syscall.Setxattr(dir, name, []byte("1"), 0); err != nil {
		return false
	}
	return syscall.Removexattr(dir, name) == nil
}
