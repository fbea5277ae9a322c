//go:build unix

package app

import (
	"math"
	"syscall"
)

// openFiles is how many files the process may have open. Go's runtime has raised
// the limit as far as it may already.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return math.MaxUint64
	}
	return uint64(l.Cur) //nolint:unconvert // signed on FreeBSD
}
