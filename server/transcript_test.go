package server_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/server"
)

var update = flag.Bool("update", false, "write the replies of a real redis-server into testdata/*.txt")

// TestTranscripts runs every testdata/*.txt against a fresh server of ours and against a fresh redis-server: both must
// give the replies that are written there. testdata/README.md describes the format.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, path := range paths {
		script := readTranscript(t, path)
		if len(script.exchanges) == 0 {
			continue // a list, not a transcript
		}
		ran++
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		if *update {
			script.rewrite(t, testredis.Start(t).Addr)
		}
		t.Run(name+"/redis", func(t *testing.T) { script.run(t, "redis-server", testredis.Start(t).Addr) })
		t.Run(name+"/neargrid", func(t *testing.T) { script.run(t, "neargrid", startServer(t)) })
		if slices.Contains(sidecarTranscripts, name) {
			t.Run(name+"/sidecar", func(t *testing.T) { script.run(t, "neargrid", startSidecar(t)) })
		}
	}
	if ran == 0 {
		t.Error("testdata holds no transcript")
	}
}

// sidecarTranscripts are those that neither set a node's configuration, nor have commands about the server in a transaction, nor track with
// BCAST, where a sidecar tells of more.
var sidecarTranscripts = []string{"bits", "command", "hashes", "lists", "setops", "sort", "strings", "strings_types"}

// startServer starts a server in this process for the length of the test and returns its address.
func startServer(t *testing.T) string {
	t.Helper()
	return startWith(t, server.Options{Listen: "127.0.0.1:0"})
}

// startWith is startServer with options.
func startWith(t *testing.T, o server.Options) string {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	srv, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return srv.Addr()
}

func dialOurs(t *testing.T, addr string) *testredis.Conn {
	t.Helper()
	conn, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// transcript is one file: its lines, and the exchanges found in them.
type transcript struct {
	path      string
	lines     []string
	exchanges []exchange
	ids       bool // it has $name, for connections' numbers
}

// numberOf stands for a connection's number.
var numberOf = regexp.MustCompile(`^\$(\w+)$`)

// exchange is one command and the reply it must have, or what comes without one.
type exchange struct {
	line  int      // index of the command's line
	conn  string   // name of the connection; "" is the first
	args  []string // none: nothing is sent
	retry bool     // repeat until the reply fits
	want  []string // the lines below the command
}

var commandLine = regexp.MustCompile(`^(?:\[(\w+)\] )?(?:(>>?) (.*)|<)$`)

func readTranscript(t *testing.T, path string) *transcript {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &transcript{path: path, lines: strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")}
	open := false // the lines belong to the last exchange's reply
	for i, line := range s.lines {
		switch match := commandLine.FindStringSubmatch(line); {
		case match != nil:
			args, err := testredis.Split(match[3])
			if err != nil || len(args) == 0 && match[2] != "" {
				t.Fatalf("%s:%d: %s: not a command line: %v", path, i+1, line, err)
			}
			for _, arg := range args {
				s.ids = s.ids || numberOf.MatchString(arg)
			}
			s.exchanges = append(s.exchanges, exchange{line: i, conn: match[1], args: args, retry: match[2] == ">>"})
			open = true
		case line == "" || strings.HasPrefix(line, "#"):
			open = false
		case open:
			e := &s.exchanges[len(s.exchanges)-1]
			e.want = append(e.want, line)
		case len(s.exchanges) > 0:
			t.Fatalf("%s:%d: %q belongs to no command", path, i+1, line)
		}
	}
	return s
}

const (
	failuresMax  = 10              // in one file against one server
	retryTimeout = 5 * time.Second // of a >> command
	retryPause   = 5 * time.Millisecond
)

func (s *transcript) run(t *testing.T, name, addr string) {
	p := newPlayer(addr, s.ids)
	defer p.close()
	failures := 0
	for _, e := range s.exchanges {
		got, err := p.play(e)
		if err != nil {
			t.Fatalf("%s:%d: %s\n%s: %v", s.path, e.line+1, s.lines[e.line], name, err)
		}
		if fits(got, e.want) {
			continue
		}
		t.Errorf("%s:%d: %s\n%s gives\n%s\nwant\n%s", s.path, e.line+1, s.lines[e.line],
			name, indented(got), indented(e.want))
		if failures++; failures == failuresMax {
			t.Fatalf("%s: giving up after %d differences", s.path, failures)
		}
	}
}

// rewrite replaces the replies in the file by those of the server at addr. Markers stay, and so do lines matched by
// their shape where they still fit.
func (s *transcript) rewrite(t *testing.T, addr string) {
	p := newPlayer(addr, s.ids)
	defer p.close()
	var out []string
	next := 0 // the first line that is not in out yet
	for i := range s.exchanges {
		e := &s.exchanges[i]
		got, err := p.play(*e)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v", s.path, e.line+1, s.lines[e.line], err)
		}
		out = append(out, s.lines[next:e.line+1]...)
		next = e.line + 1 + len(e.want)
		if !fits(got, e.want) {
			e.want = got
		}
		out = append(out, e.want...)
	}
	out = append(out, s.lines[next:]...)
	if err := os.WriteFile(s.path, []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	*s = *readTranscript(t, s.path)
}

// player sends commands over named connections, which it opens when they are first used.
type player struct {
	addr  string
	conns map[string]*testredis.Conn
	ids   map[string]string // their numbers; nil: nobody asks
}

func newPlayer(addr string, ids bool) *player {
	p := &player{addr: addr, conns: map[string]*testredis.Conn{}}
	if ids {
		p.ids = map[string]string{}
	}
	return p
}

// conn opens a connection when it is first used.
func (p *player) conn(name string) (*testredis.Conn, error) {
	conn := p.conns[name]
	if conn != nil {
		return conn, nil
	}
	conn, err := testredis.Dial(p.addr)
	if err != nil {
		return nil, err
	}
	p.conns[name] = conn
	if p.ids != nil {
		v, err := conn.Call("CLIENT", "ID")
		if err != nil {
			return nil, err
		}
		p.ids[name] = v.Text
	}
	return conn, nil
}

// words are a command's, with connections' numbers in place of $name.
func (p *player) words(args []string) ([]string, error) {
	words := slices.Clone(args)
	for i, arg := range args {
		if match := numberOf.FindStringSubmatch(arg); match != nil {
			if _, err := p.conn(match[1]); err != nil {
				return nil, err
			}
			words[i] = p.ids[match[1]]
		}
	}
	return words, nil
}

func (p *player) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// play sends an exchange's command and returns the lines of its reply, a first marker line included.
func (p *player) play(e exchange) ([]string, error) {
	got, err := p.playOnce(e)
	if !e.retry {
		return got, err
	}
	deadline := time.After(retryTimeout)
	pause := time.NewTicker(retryPause)
	defer pause.Stop()
	for err == nil && !fits(got, e.want) {
		select {
		case <-deadline:
			return got, nil
		case <-pause.C:
			got, err = p.playOnce(e)
		}
	}
	return got, err
}

func (p *player) playOnce(e exchange) ([]string, error) {
	words, err := p.words(e.args)
	if err != nil {
		return nil, err
	}
	conn, err := p.conn(e.conn)
	if err != nil {
		return nil, err
	}
	var v testredis.Value
	if len(words) > 0 {
		v, err = conn.Call(words...)
	} else if err = conn.Flush(); err == nil { // of nothing: the time to wait begins
		v, err = conn.Receive()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		conn.Close()
		delete(p.conns, e.conn)
		return []string{closedMark}, nil
	}
	if err != nil {
		return nil, err
	}
	var lines []string
	if len(e.want) > 0 && (e.want[0] == unorderedMark || e.want[0] == unorderedPairsMark) {
		lines = append(lines, e.want[0])
		v = testredis.Sorted(v, e.want[0] == unorderedPairsMark)
	}
	return append(lines, strings.Split(testredis.Format(v), "\n")...), nil
}

// What stands in a transcript in place of a reply, before it, or in place of some of its lines.
const (
	closedMark         = "(closed)"
	unorderedMark      = "(unordered)"
	unorderedPairsMark = "(unordered pairs)"
	shapePrefix        = "~ "
	restMark           = "~*"
)

// fits reports whether the lines of a reply are those wanted.
func fits(got, want []string) bool {
	for i, w := range want {
		if w == restMark {
			return true
		}
		if i == len(got) {
			return false
		}
		pattern, byShape := strings.CutPrefix(w, shapePrefix)
		if !byShape && got[i] != w {
			return false
		}
		if byShape {
			if ok, err := regexp.MatchString(`^(?:`+pattern+`)$`, got[i]); err != nil || !ok {
				return false
			}
		}
	}
	return len(got) == len(want)
}

func indented(lines []string) string {
	if len(lines) == 0 {
		return "    nothing is written: run with -update"
	}
	return "    " + strings.Join(lines, "\n    ")
}

func TestTranscriptLinesFit(t *testing.T) {
	for _, c := range []struct {
		got, want string
		fit       bool
	}{
		{"OK", "OK", true},
		{"OK", "ok", false},
		{"(integer) 12", `~ \(integer\) \d+`, true},
		{"(integer) 12x", `~ \(integer\) \d+`, false},
		{"1) \"a\"\n2) \"b\"", "1) \"a\"", false},
		{"1) \"a\"", "1) \"a\"\n2) \"b\"", false},
		{"1) \"a\"\n2) \"b\"", "1) \"a\"\n~*", true},
		{"1) \"b\"\n2) \"b\"", "1) \"a\"\n~*", false},
		{"OK", "", false},
	} {
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, "\n")
		}
		if fit := fits(strings.Split(c.got, "\n"), want); fit != c.fit {
			t.Errorf("reply %s, wanted %s: fits is %v, want %v", fmt.Sprintf("%q", c.got), fmt.Sprintf("%q", c.want), fit, c.fit)
		}
	}
}
