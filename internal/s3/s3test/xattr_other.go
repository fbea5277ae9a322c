//go:build !linux

package s3test

func hasXattrs(string) bool { return true }
