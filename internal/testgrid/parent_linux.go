package testgrid

import (
	"os/exec"
	"syscall"
)

// detach makes a node end with the program that started it, also where that is killed; but not by the signals that a terminal sends.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
