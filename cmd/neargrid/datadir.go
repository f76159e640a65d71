package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// dataDir is a data directory that this process holds, exclusively, until it is closed.
type dataDir struct {
	path   string
	nodeID string // a UUID, made once
	lock   *os.File
}

// Files of a data directory.
const (
	lockFile   = "lock"    // held with flock; its content is the holder's process id, to be shown to people
	nodeIDFile = "node-id" // the UUID and a line end
)

// openDataDir makes the directory where it is missing, takes its lock, and reads or makes the node's id.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data directory (choose another with --data-dir): %w", err)
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	id, err := loadNodeID(path)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &dataDir{path, id, lock}, nil
}

// Close lets another process have the directory.
func (d *dataDir) Close() error { return d.lock.Close() }

func takeLock(path string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use the data directory (choose another with --data-dir): %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := readHolder(lock)
		lock.Close()
		return nil, fmt.Errorf("data directory %s is used by process %s: stop it, or choose another with --data-dir", path, holder)
	}
	if err == nil {
		err = writeHolder(lock)
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("cannot lock the data directory %s: %w", path, err)
	}
	return lock, nil
}

func writeHolder(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readHolder is the process id in a lock file; its holder may not have written it yet.
func readHolder(lock *os.File) string {
	var buf [20]byte
	n, _ := lock.ReadAt(buf[:], 0)
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		return pid
	}
	return "(unknown)"
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// loadNodeID reads the id, or makes it. An id that cannot be read is never replaced: who a node is decides which data
// is its own.
func loadNodeID(path string) (string, error) {
	name := filepath.Join(path, nodeIDFile)
	content, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeNodeID(path)
	case err != nil:
		return "", fmt.Errorf("cannot read the node's id: %w", err)
	}
	id := strings.TrimSpace(string(content))
	if !uuidForm.MatchString(id) {
		return "", fmt.Errorf("%s does not hold a node id: restore it, or remove it to make this a new node", name)
	}
	return id, nil
}

// makeNodeID writes a new id so that a crash leaves either none or all of it.
func makeNodeID(path string) (string, error) {
	id := newUUID()
	name := filepath.Join(path, nodeIDFile)
	err := writeSynced(name+".new", id+"\n")
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot write the node's id: %w", err)
	}
	return id, nil
}

func writeSynced(name, content string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Sync(), file.Close())
}

// syncDir makes a rename in a directory last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
