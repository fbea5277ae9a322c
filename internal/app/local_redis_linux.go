package app

import "syscall"

// endsWithUs has the kernel end a child when its parent is killed: the next
// crossfade local starts a Redis of its own on the same files.
func endsWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
