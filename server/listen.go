package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// ErrAddrInUse is wrapped by Start's error where another program has the address.
var ErrAddrInUse = errors.New("address in use")

// unixsocketPermDefault is the mode of a Unix socket where none is asked for: its owner's alone.
const unixsocketPermDefault = 0o700

// listeners are the server's open doors.
type listeners struct {
	tcp, cluster, unix net.Listener // nil where there is none
	path               string       // of the Unix socket
	file               fs.FileInfo  // what was made at path
}

// listen opens the doors that o names. An error says, in one line, what to do about it.
func listen(o Options) (*listeners, error) {
	if o.Listen == "" && o.Unixsocket == "" && o.ClusterListen == "" {
		return nil, errors.New("nothing to listen on: give an address with --listen or a path with --unixsocket")
	}
	ls := &listeners{path: o.Unixsocket}
	var err error
	if o.Listen != "" {
		if ls.tcp, err = listenTCP(o.Listen, "--listen"); err != nil {
			return nil, err
		}
	}
	if o.ClusterListen != "" {
		if ls.cluster, err = listenTCP(o.ClusterListen, "--cluster-listen"); err != nil {
			ls.close()
			return nil, err
		}
	}
	if o.Unixsocket == "" {
		return ls, nil
	}
	mode := fs.FileMode(o.UnixsocketPerm)
	if mode == 0 {
		mode = unixsocketPermDefault
	}
	if ls.unix, ls.file, err = listenUnix(o.Unixsocket, mode); err != nil {
		ls.close()
		return nil, err
	}
	return ls, nil
}

// door is what connections need to know of where they came in.
type door struct {
	path    string // of a Unix socket
	cluster bool
}

// doorOf is one of the listeners as a door.
func (ls *listeners) doorOf(l net.Listener) (d door) {
	if l == ls.unix {
		d.path = ls.path
	}
	d.cluster = l == ls.cluster
	return d
}

// addrOf is a door's address, with the real port where port 0 was asked for; empty where there is none.
func addrOf(door net.Listener) string {
	if door == nil {
		return ""
	}
	return door.Addr().String()
}

// all are the listeners that exist.
func (ls *listeners) all() []net.Listener {
	var all []net.Listener
	for _, l := range []net.Listener{ls.tcp, ls.cluster, ls.unix} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

// close closes the doors and removes the socket's path, unless something else is there by now.
func (ls *listeners) close() {
	for _, l := range ls.all() {
		l.Close()
	}
	if ls.file == nil {
		return
	}
	if now, err := os.Lstat(ls.path); err == nil && os.SameFile(now, ls.file) {
		os.Remove(ls.path)
	}
}

func listenTCP(addr, flag string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1} // drivers set it for each connection
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: %w: stop the program that has it, or choose another port with %s", addr, ErrAddrInUse, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine has no such address: choose one of its own with %s", addr, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not permitted: choose a port above 1023 with %s", addr, flag)
	case err != nil:
		return nil, fmt.Errorf("listen on %q: %w: %s takes host:port", addr, err, flag)
	}
	return l, nil
}

// listenUnix makes a Unix socket at path with the given permissions. A socket that a dead program left there is removed;
// one that answers, and anything that is no socket, is an error.
func listenUnix(path string, mode fs.FileMode) (net.Listener, fs.FileInfo, error) {
	if err := removeStale(path); err != nil {
		return nil, nil, fmt.Errorf("listen on unix socket %s: %w", path, err)
	}
	// Linux derives the new file's mode from the socket's, so nobody gets in between bind and chmod. Elsewhere this
	// fails, and chmod alone decides.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) })
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, nil, fmt.Errorf("listen on unix socket %s: the path is too long for a socket: choose a shorter one with --unixsocket", path)
	case err != nil:
		return nil, nil, fmt.Errorf("listen on unix socket %s: %w: choose another path with --unixsocket", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would remove whatever is at the path
	if err = os.Chmod(path, mode.Perm()); err == nil {
		var file fs.FileInfo
		if file, err = os.Lstat(path); err == nil {
			return l, file, nil
		}
	}
	l.Close()
	return nil, nil, fmt.Errorf("listen on unix socket %s: %w", path, err)
}

// removeStale removes a socket at path on which nobody listens.
func removeStale(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if file.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is not a socket is there: remove it, or choose another path with --unixsocket")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: stop the program that has it, or choose another path with --unixsocket", ErrAddrInUse)
	}
	return os.Remove(path)
}
