package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// What the list of bad inputs has to cover.
const (
	badInputsMin  = 100
	badClassesMin = 15
)

// Bounds on what one bad input may cost.
const (
	badPatience    = 10 * time.Second // for all of its replies
	bystanderBound = 2 * time.Second  // for a reply to another client meanwhile

	// What may be allocated in all, for every byte sent and received, and for everything else together: connection,
	// buffers, the other client. A length that is only announced is no byte. The most costly input is a command of a
	// million short arguments: each has its place noted, and both buffer and notes double several times.
	allocPerByte = 16
	allocBase    = 2 << 20
	// What may be in use afterwards beyond what was before.
	usedPerByte = 4
	usedBase    = 32 << 20 // the server's figure includes garbage of this process
)

// TestBadInput sends everything in testdata/badinput/input.txt, and expects the very bytes that are written there, while
// another client works on and must not notice. Where a redis-server is installed it has to answer the same, but for the
// lines that name a difference.
func TestBadInput(t *testing.T) {
	const path = "testdata/badinput/input.txt"
	inputs := readBadInputs(t, path)
	classes := map[string]int{}
	for _, in := range inputs {
		classes[in.class]++
	}
	t.Logf("%d bad inputs in %d classes: %v", len(inputs), len(classes), classes)
	if len(inputs) < badInputsMin || len(classes) < badClassesMin {
		t.Errorf("%d inputs in %d classes, want at least %d in %d", len(inputs), len(classes), badInputsMin, badClassesMin)
	}
	if *update {
		r := newBadRunner(t, testredis.Start(t).Addr)
		for i := range inputs {
			if !inputs[i].differs {
				inputs[i].want = r.answer(&inputs[i])
			}
		}
		writeBadInputs(t, path, inputs)
	}
	t.Run("neargrid", func(t *testing.T) {
		r := newBadRunner(t, startServer(t))
		r.measures = true
		for i := range inputs {
			r.run(&inputs[i])
		}
		r.checkClosed()
	})
	t.Run("sidecar", func(t *testing.T) {
		r := newBadRunner(t, startSidecar(t))
		for i := range inputs {
			if strings.HasPrefix(strings.Join(inputs[i].pieces, ""), "MULTI\r\nSELECT") {
				continue // as at any door, where another node is to execute it: CROSSSLOT
			}
			r.run(&inputs[i])
		}
		r.checkClosed()
	})
	t.Run("redis", func(t *testing.T) {
		r := newBadRunner(t, testredis.Start(t).Addr)
		for i := range inputs {
			if !inputs[i].differs {
				r.run(&inputs[i])
			}
		}
	})
}

// badInput is one client's misbehaviour, and what it must get for it.
type badInput struct {
	lines   []string // of the file up to the first reply, for rewriting it
	line    int
	class   string
	config  [][2]string // set for this input alone
	pieces  []string    // sent one after the other; the server has dealt with one before the next is sent
	ending  ending
	want    string // all bytes of the reply
	differs bool   // from redis-server, for a reason given in the file
}

// ending is what becomes of the connection.
type ending string

const (
	endsClosed  ending = "(closed)"  // the server closes it
	endsOpen    ending = "(open)"    // it goes on being served
	endsWaiting ending = "(waiting)" // more input is awaited; when the client ends its side, the server closes
)

// readBadInputs reads the file. Its head describes the format.
func readBadInputs(t *testing.T, path string) []badInput {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []badInput
	in, class := badInput{}, ""
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		word, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(line, "#") {
			word = "#"
		}
		switch word {
		case "<":
			text, err := bytesOf(rest)
			if err != nil {
				t.Fatalf("%s:%d: %s: %v", path, i+1, line, err)
			}
			in.want += text
			continue
		case string(endsClosed), string(endsOpen), string(endsWaiting):
			in.ending, in.class = ending(word), class
			inputs = append(inputs, in)
			in = badInput{}
			continue
		case "class":
			class = rest
		case "config":
			name, value, _ := strings.Cut(rest, " ")
			in.config = append(in.config, [2]string{name, value})
		case "differs:":
			in.differs = true
		case ">", ">>":
			text, err := bytesOf(rest)
			if err != nil {
				t.Fatalf("%s:%d: %s: %v", path, i+1, line, err)
			}
			if in.line == 0 {
				in.line = i + 1
			}
			if word == ">" {
				in.pieces = append(in.pieces, text)
				break
			}
			in.pieces = append(in.pieces, strings.Split(text, "")...)
		case "", "#":
		default:
			t.Fatalf("%s:%d: %s: not understood", path, i+1, line)
		}
		in.lines = append(in.lines, line)
	}
	return inputs
}

func writeBadInputs(t *testing.T, path string, inputs []badInput) {
	t.Helper()
	var b strings.Builder
	for _, in := range inputs {
		for _, line := range in.lines {
			b.WriteString(line + "\n")
		}
		replies := strings.SplitAfter(in.want, "\n")
		for i := 0; i < len(replies) && replies[i] != ""; {
			same := i
			for i < len(replies) && replies[i] == replies[same] {
				i++
			}
			b.WriteString("< " + quoteRuns(replies[same], i-same) + "\n")
		}
		b.WriteString(string(in.ending) + "\n")
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// quoteRuns writes text, times over, for bytesOf. Long runs of one byte are written as such.
func quoteRuns(text string, times int) string {
	const long = 100
	if times > 1 {
		return strconv.Quote(text) + "*" + strconv.Itoa(times)
	}
	var parts []string
	start, i := 0, 0
	for i < len(text) {
		run := i
		for i < len(text) && text[i] == text[run] {
			i++
		}
		if i-run < long {
			continue
		}
		if run > start {
			parts = append(parts, strconv.Quote(text[start:run]))
		}
		parts = append(parts, strconv.Quote(text[run:run+1])+"*"+strconv.Itoa(i-run))
		start = i
	}
	if start < len(text) {
		parts = append(parts, strconv.Quote(text[start:]))
	}
	return strings.Join(parts, " ")
}

// bytesOf reads Go's quoted strings, each with an optional *N for N times, and puts them together.
func bytesOf(line string) (string, error) {
	var b strings.Builder
	for line != "" {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", err
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return "", err
		}
		times := 1
		line = line[len(quoted):]
		if count, ok := strings.CutPrefix(line, "*"); ok {
			count, line, _ = strings.Cut(count, " ")
			if times, err = strconv.Atoi(count); err != nil {
				return "", err
			}
		}
		b.WriteString(strings.Repeat(text, times))
		line = strings.TrimLeft(line, " ")
	}
	return b.String(), nil
}

// badRunner sends bad inputs to one server.
type badRunner struct {
	*testing.T
	addr      string
	admin     *testredis.Conn
	bystander *bystander
	measures  bool // the server is in this process
}

func newBadRunner(t *testing.T, addr string) *badRunner {
	t.Helper()
	admin, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	return &badRunner{T: t, addr: addr, admin: admin, bystander: newBystander(t, addr)}
}

// run checks one input.
func (r *badRunner) run(in *badInput) {
	r.Helper()
	var before, after runtime.MemStats
	usedBefore := r.used()
	runtime.ReadMemStats(&before)
	got := r.answer(in)
	runtime.ReadMemStats(&after)
	if got != in.want {
		r.Errorf("line %d, %s: sent %s\ngot  %s\nwant %s", in.line, in.class, brief(strings.Join(in.pieces, "")), brief(got), brief(in.want))
	}
	if slowest := r.bystander.check(); slowest > bystanderBound {
		r.Errorf("line %d, %s: meanwhile another client waited %v for a reply, want at most %v", in.line, in.class, slowest, bystanderBound)
	}
	if !r.measures {
		return
	}
	bytes := len(got)
	for _, p := range in.pieces {
		bytes += len(p)
	}
	if grown, most := int(after.TotalAlloc-before.TotalAlloc), bytes*allocPerByte+allocBase; grown > most {
		r.Errorf("line %d, %s: %d bytes were allocated for %d sent and received, want at most %d", in.line, in.class, grown, bytes, most)
	}
	if grown, most := r.used()-usedBefore, int64(bytes)*usedPerByte+usedBase; grown > most {
		r.Errorf("line %d, %s: %d bytes more are in use after %d were sent and received, want at most %d", in.line, in.class, grown, bytes, most)
	}
}

// answer sends one input and returns all the server has to say to it.
func (r *badRunner) answer(in *badInput) string {
	r.Helper()
	defer r.configure(in.config)()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(badPatience))

	// Replies are read while the input is sent: a server that has refused the first bytes need not take the others.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i, p := range in.pieces {
			if i > 0 {
				r.bystander.pass()
			}
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
		}
		switch in.ending {
		case endsOpen:
			io.WriteString(c, "QUIT\r\n")
		case endsWaiting:
			c.(*net.TCPConn).CloseWrite()
		}
	}()
	reply, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.Errorf("line %d, %s: sent %s: the connection was not closed within %v", in.line, in.class, brief(strings.Join(in.pieces, "")), badPatience)
	}
	<-sent
	if in.ending != endsOpen {
		return string(reply)
	}
	rest, alive := strings.CutSuffix(string(reply), "+OK\r\n")
	if !alive {
		r.Errorf("line %d, %s: sent %s: QUIT behind it was not answered, the replies end in %s",
			in.line, in.class, brief(strings.Join(in.pieces, "")), brief(string(reply[max(0, len(reply)-80):])))
	}
	return rest
}

// configure changes settings, and returns what takes that back.
func (r *badRunner) configure(settings [][2]string) (restore func()) {
	r.Helper()
	var old [][2]string
	set := func(name, value string) {
		r.Helper()
		if v := r.admin.Do(r.T, "CONFIG", "SET", name, value); v.IsError() {
			r.Fatalf("CONFIG SET %s %s: %s", name, value, v.Text)
		}
	}
	for _, s := range settings {
		old = append(old, [2]string{s[0], r.admin.Do(r.T, "CONFIG", "GET", s[0]).Elems[1].Text})
		set(s[0], s[1])
	}
	return func() {
		r.Helper()
		for _, s := range old {
			set(s[0], s[1])
		}
	}
}

// used is the memory that the server says it uses.
func (r *badRunner) used() int64 {
	if !r.measures {
		return 0
	}
	_, rest, _ := strings.Cut(r.admin.Do(r.T, "INFO", "memory").Text, "used_memory:")
	line, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		r.Fatalf("INFO memory: used_memory: %v", err)
	}
	return n
}

// checkClosed waits until the server has let go of all connections but the two of the test.
func (r *badRunner) checkClosed() {
	r.Helper()
	waitFor(r.T, "all bad clients to be gone", func() bool {
		return strings.Contains(r.admin.Do(r.T, "INFO", "clients").Text, "connected_clients:2\r\n")
	})
}

// brief is text for a message.
func brief(s string) string {
	if len(s) <= 300 {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%q ... %q (%d bytes)", s[:150], s[len(s)-100:], len(s))
}

// waitFor waits until a condition holds.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(badPatience)
	again := time.NewTicker(retryPause)
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", badPatience, what)
		case <-again.C:
		}
	}
}

// bystander is a client that works all the time. It allocates nothing meanwhile, as what others allocate is measured.
type bystander struct {
	t       *testing.T
	conn    net.Conn
	rounds  atomic.Int64
	slowest atomic.Int64 // ns, since check
	stop    chan struct{}
	stopped chan struct{}
}

const bystanderPause = time.Millisecond

func newBystander(t *testing.T, addr string) *bystander {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &bystander{t: t, conn: c, stop: make(chan struct{}), stopped: make(chan struct{})}
	go b.work()
	t.Cleanup(func() {
		close(b.stop)
		<-b.stopped
		c.Close()
	})
	return b
}

// work sends the same commands again and again.
func (b *bystander) work() {
	defer close(b.stopped)
	request := []byte("*3\r\n$3\r\nSET\r\n$9\r\nbystander\r\n$2\r\n42\r\nGET bystander\r\nPING\r\n")
	want := []byte("+OK\r\n$2\r\n42\r\n+PONG\r\n")
	got := make([]byte, len(want))
	pause := time.NewTicker(bystanderPause)
	defer pause.Stop()
	for {
		begin := time.Now()
		b.conn.SetDeadline(begin.Add(2 * badPatience))
		_, err := b.conn.Write(request)
		if err == nil {
			_, err = io.ReadFull(b.conn, got)
		}
		if err != nil || !bytes.Equal(got, want) {
			b.t.Errorf("another client noticed: got %q, error %v; want %q", got, err, want)
			return
		}
		b.slowest.Store(max(b.slowest.Load(), int64(time.Since(begin))))
		b.rounds.Add(1)
		select {
		case <-b.stop:
			return
		case <-pause.C:
		}
	}
}

// pass returns when the bystander has had a whole round: what the server got before, it has dealt with.
func (b *bystander) pass() {
	goal := b.rounds.Load() + 2
	pause := time.NewTicker(bystanderPause)
	defer pause.Stop()
	for b.rounds.Load() < goal {
		select {
		case <-b.stopped:
			return
		case <-pause.C:
		}
	}
}

// check returns the longest wait for replies since it was called last.
func (b *bystander) check() time.Duration {
	b.pass()
	return time.Duration(b.slowest.Swap(0))
}
