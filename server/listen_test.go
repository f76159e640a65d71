package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenReportsRealPort(t *testing.T) {
	ls, err := listen(Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer ls.close()
	if addr := addrOf(ls.tcp); strings.HasSuffix(addr, ":0") {
		t.Errorf("got %s, want the real port", addr)
	}
	_, err = listen(Options{Listen: addrOf(ls.tcp)})
	if !errors.Is(err, ErrAddrInUse) || !strings.Contains(err.Error(), addrOf(ls.tcp)) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a second listener: error %v; want one that names %s and --listen", err, addrOf(ls.tcp))
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"nothing", Options{}, "nothing to listen on"},
		{"no port", Options{Listen: "127.0.0.1"}, "host:port"},
		{"port out of range", Options{Listen: "127.0.0.1:70000"}, "host:port"},
		{"not this machine's", Options{Listen: "192.0.2.1:0"}, "no such address"},
		{"a file", Options{Unixsocket: file}, "not a socket"},
		{"a directory", Options{Unixsocket: dir}, "not a socket"},
		{"no directory", Options{Unixsocket: filepath.Join(dir, "none", "s")}, "no such file or directory"},
		{"a long path", Options{Unixsocket: filepath.Join(dir, strings.Repeat("x", 200))}, "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ls, err := listen(c.o)
			if err == nil {
				ls.close()
				t.Fatalf("%+v: no error, want %q", c.o, c.want)
			}
			if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("got %q, want one line with %q", text, c.want)
			}
		})
	}
	if kept, err := os.ReadFile(file); string(kept) != "precious" {
		t.Errorf("the file in the way has become %q, error %v", kept, err)
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, mode := range []uint32{0, 0o700, 0o777, 0o660} {
		ls, err := listen(Options{Unixsocket: path, UnixsocketPerm: mode})
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(mode)
		if mode == 0 {
			want = 0o700
		}
		if file, err := os.Lstat(path); err != nil || file.Mode().Perm() != want {
			t.Errorf("mode %o: got %v, error %v; want %v", mode, file.Mode(), err, want)
		}
		if _, err := listen(Options{Unixsocket: path}); !errors.Is(err, ErrAddrInUse) {
			t.Errorf("a second listener: error %v, want %v", err, ErrAddrInUse)
		}
		ls.close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after close the path is still there (error %v)", err)
		}
	}
}

func TestListenUnixStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close() // as a killed program does
	ls, err := listen(Options{Unixsocket: path})
	if err != nil {
		t.Fatalf("a socket nobody answers on is in the way: %v", err)
	}
	// What has taken the path since is not ours to remove.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ls.close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("close removed what another has put at the path: %v", err)
	}
}
