package testredis

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes a server end with the test that started it, also where that is killed.
//
// The signal comes when the thread that started the process ends; threads of the Go runtime live as long as the
// process unless a goroutine locked to one ends, which no test of ours does.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
