//go:build !linux

package testgrid

import (
	"os/exec"
	"syscall"
)

// detach keeps the signals that a terminal sends from a node.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
