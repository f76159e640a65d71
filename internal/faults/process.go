package main

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

// buildProgram builds neargrid into a directory.
func buildProgram(ctx context.Context, dir string) (string, error) {
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

// process is one start of a node.
type process struct {
	id     string // the node's
	cmd    *exec.Cmd
	log    *processLog
	exited chan struct{}
}

// startProcess starts a node and waits until it is ready. What it logs is appended to a file.
func startProcess(ctx context.Context, logFile string, command []string) (*process, error) {
	file, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(command[0], command[1:]...), exited: make(chan struct{})}
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
		close(p.exited)
	}()
	timer := time.NewTimer(readyMax)
	defer timer.Stop()
	select {
	case p.id = <-p.log.ready:
		return p, nil
	case <-p.exited:
		err = fmt.Errorf("it ended at once: %s", p.cmd.ProcessState)
	case <-timer.C:
		err = fmt.Errorf("it is not ready after %v", readyMax)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.kill()
	return nil, fmt.Errorf("%s: %w; see %s", strings.Join(command, " "), err, logFile)
}

// kill ends the process without a word, and returns once it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the process to end, and waits until it has.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.wait()
}

// wait waits for an end of the process's own accord.
func (p *process) wait() error {
	timer := time.NewTimer(exitMax)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.kill()
		return fmt.Errorf("it had not ended after %v", exitMax)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("it ended with %s", p.cmd.ProcessState)
	}
	return nil
}

// freeze stops the process where it is, until thaw.
func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// processLog writes a log to a file, and notices the line that says that the node is ready.
type processLog struct {
	file  io.Writer
	mu    sync.Mutex
	line  []byte // the last one, as far as it has come; nil once the node is ready
	done  bool
	ready chan string // gets the node's id
}

var readyLine = regexp.MustCompile(`msg=ready .*\bnode=(\S+)`)

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
