package testgrid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyMax = 60 * time.Second // for a process to be ready: it may wait for the others
	exitMax  = 20 * time.Second // for a process to end once it was told to
)

// BuildProgram builds neargrid into a directory.
func BuildProgram(ctx context.Context, dir string) (string, error) {
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	path := filepath.Join(dir, "neargrid")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/neargrid")
	build.Dir = filepath.Dir(strings.TrimSpace(string(gomod)))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/neargrid: %w\n%s", err, out)
	}
	return path, nil
}

// Process is one start of a node, or of another program that says in its log when it is ready.
type Process struct {
	ID     string // the node's
	cmd    *exec.Cmd
	log    *processLog
	Exited chan struct{}
}

// StartProcess starts a node and waits until it is ready. What it logs is appended to a file.
func StartProcess(ctx context.Context, logFile string, command []string) (*Process, error) {
	file, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(command[0], command[1:]...), Exited: make(chan struct{})}
	p.log = &processLog{file: file, ready: make(chan string, 1)}
	p.cmd.Stderr = p.log
	detach(p.cmd)
	if err := p.cmd.Start(); err != nil {
		file.Close()
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		file.Close()
		close(p.Exited)
	}()
	timer := time.NewTimer(readyMax)
	defer timer.Stop()
	select {
	case p.ID = <-p.log.ready:
		return p, nil
	case <-p.Exited:
		err = fmt.Errorf("it ended at once: %s", p.cmd.ProcessState)
	case <-timer.C:
		err = fmt.Errorf("it is not ready after %v", readyMax)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.Kill()
	return nil, fmt.Errorf("%s: %w; see %s", strings.Join(command, " "), err, logFile)
}

// Kill ends the process without a word, and returns once it is gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.Exited
}

// Stop asks the process to end, and waits until it has.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Wait()
}

// Wait waits for an end of the process's own accord.
func (p *Process) Wait() error {
	timer := time.NewTimer(exitMax)
	defer timer.Stop()
	select {
	case <-p.Exited:
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("it had not ended after %v", exitMax)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("it ended with %s", p.cmd.ProcessState)
	}
	return nil
}

// Freeze stops the process where it is, until thaw.
func (p *Process) Freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends that.
func (p *Process) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// processLog writes a log to a file, and notices the line that says that the node is ready.
type processLog struct {
	file  io.Writer
	mu    sync.Mutex
	line  []byte // the last one, as far as it has come; nil once the node is ready
	done  bool
	ready chan string // gets the node's id
}

var readyLine = regexp.MustCompile(`msg=ready\b(?:.*\bnode=(\S+))?`)

func (l *processLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, b...)
	for !l.done {
		line, rest, whole := bytes.Cut(l.line, []byte("\n"))
		if !whole {
			break
		}
		l.line = rest
		if found := readyLine.FindSubmatch(line); found != nil {
			l.done = true
			l.ready <- string(found[1])
		}
	}
	if l.done {
		l.line = nil
	}
	if _, err := l.file.Write(b); err != nil && !errors.Is(err, os.ErrClosed) {
		return 0, err
	}
	return len(b), nil
}
