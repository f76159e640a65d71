package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// TestFrame holds the bytes of a frame to what other versions have sent, and will.
func TestFrame(t *testing.T) {
	got := AppendFrame([]byte("before"), Frame{Type: 7, Flags: 0x0201, Payload: []byte("hello")})
	want := "before\x01\x07\x01\x02\x05\x00\x00\x00\x69\x1e\x1f\xebhello"
	if string(got) != want {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	f, n, _, err := ParseFrame(append(got[len("before"):], "after"...))
	if err != nil || n != FrameHeaderSize+5 || f.Type != 7 || f.Flags != 0x0201 || string(f.Payload) != "hello" {
		t.Fatalf("got %+v, %d bytes, %v", f, n, err)
	}
	if cap(f.Payload) != 5 {
		t.Errorf("an append to the payload would overwrite the next frame: capacity %d", cap(f.Payload))
	}
}

func TestParseFrame(t *testing.T) {
	frame := func(change func(b []byte)) []byte {
		b := AppendFrame(nil, Frame{Type: 1, Payload: []byte("payload")})
		change(b)
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "needs 12"},
		{"half a header", frame(func([]byte) {})[:6], "needs 12"},
		{"header only", frame(func([]byte) {})[:12], "needs 19"},
		{"all but a byte", frame(func([]byte) {})[:18], "needs 19"},
		{"whole", frame(func([]byte) {}), "19 bytes"},
		{"no payload", AppendFrame(nil, Frame{Type: 9}), "12 bytes"},
		{"largest", AppendFrame(nil, Frame{Payload: make([]byte, FrameSizeMax)}), "262156 bytes"},
		{"another version", []byte{2}, "malformed frame: version 2, and this program knows 1"},
		{"too large (R18)", frame(func(b []byte) { copy(b[4:], "\x01\x00\x04\x00") })[:12], "malformed frame: 262145 bytes of payload, and a frame has at most 262144"},
		{"largest length there is", frame(func(b []byte) { copy(b[4:], "\xff\xff\xff\xff") })[:12], "malformed frame: 4294967295 bytes of payload, and a frame has at most 262144"},
		{"type changed", frame(func(b []byte) { b[1] ^= 1 }), "malformed frame: checksum"},
		{"flags changed", frame(func(b []byte) { b[3] ^= 1 }), "malformed frame: checksum"},
		{"shortened", frame(func(b []byte) { b[4]-- }), "malformed frame: checksum"},
		{"checksum changed", frame(func(b []byte) { b[8] ^= 1 }), "malformed frame: checksum"},
		{"payload changed", frame(func(b []byte) { b[18] ^= 1 }), "malformed frame: checksum"},
	} {
		_, n, need, err := ParseFrame(c.in)
		got := fmt.Sprintf("%d bytes", n)
		switch {
		case err != nil:
			got = err.Error()
			if !errors.Is(err, ErrFrame) {
				t.Errorf("%s: %v is no ErrFrame", c.name, err)
			}
		case n == 0:
			got = fmt.Sprintf("needs %d", need)
		}
		if got != c.want && !(strings.HasSuffix(c.want, "checksum") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestEndFrameRefusesOversize(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a frame beyond FrameSizeMax was made")
		}
	}()
	AppendFrame(nil, Frame{Payload: make([]byte, FrameSizeMax+1)})
}

func TestFrameReaderEnds(t *testing.T) {
	one := AppendFrame(nil, Frame{Type: 1, Payload: []byte("one")})
	for _, c := range []struct {
		name string
		src  io.Reader
		want []string
	}{
		{"between frames", bytes.NewReader(one), []string{"1 one", "EOF"}},
		{"within a header", bytes.NewReader(append(bytes.Clone(one), 1)), []string{"1 one", "unexpected EOF"}},
		{"within a payload", bytes.NewReader(one[:len(one)-1]), []string{"unexpected EOF"}},
		{"with the last bytes", iotest.DataErrReader(bytes.NewReader(one)), []string{"1 one", "EOF"}},
		{"a deadline, and on", iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(one))), []string{"timeout", "1 one", "EOF"}},
		{"nothing, for ever", idle{}, []string{io.ErrNoProgress.Error()}},
	} {
		r := NewFrameReader(c.src)
		for i, want := range c.want {
			f, err := r.Next()
			got := fmt.Sprintf("%d %s", f.Type, f.Payload)
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: result %d is %q, want %q", c.name, i, got, want)
			}
		}
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestFrameReaderMemory announces a large frame, byte by byte: memory follows what arrives (R18).
func TestFrameReaderMemory(t *testing.T) {
	in := AppendFrame(nil, Frame{Payload: make([]byte, FrameSizeMax)})
	for _, arrived := range []int{FrameHeaderSize, 5000, 100_000, len(in) - 1} {
		r := NewFrameReader(io.MultiReader(bytes.NewReader(in[:arrived]), iotest.ErrReader(os.ErrDeadlineExceeded)))
		if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %d bytes: %v", arrived, err)
		}
		if limit := max(frameBufferMin, 2*arrived); cap(r.buf) > limit {
			t.Errorf("after %d bytes the reader holds %d", arrived, cap(r.buf))
		}
	}
	r := NewFrameReader(bytes.NewReader(bytes.Repeat(in, 3)))
	for range 3 {
		if f, err := r.Next(); err != nil || len(f.Payload) != FrameSizeMax {
			t.Fatalf("%d bytes, %v", len(f.Payload), err)
		}
	}
	if cap(r.buf) > len(in) {
		t.Errorf("three frames of %d bytes left a buffer of %d", len(in), cap(r.buf))
	}
}

// FuzzFrame checks that cuts change nothing, that whatever parses is what would have been sent, and that memory follows
// the bytes that have arrived.
func FuzzFrame(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, Frame{Type: 1, Flags: 2, Payload: []byte("x")}), Frame{}), uint64(1))
	f.Add([]byte{1, 1, 0, 0, 255, 255, 3, 0, 1, 2, 3, 4, 5}, uint64(2))
	f.Add([]byte{2}, uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		var whole []string
		rest := in
		for {
			frame, n, _, err := ParseFrame(rest)
			if err != nil {
				whole = append(whole, err.Error())
				break
			}
			if n == 0 {
				whole = append(whole, end(len(rest)))
				break
			}
			if again := AppendFrame(nil, frame); !bytes.Equal(again, rest[:n]) {
				t.Fatalf("%q parses, and is sent as %q", rest[:n], again)
			}
			whole = append(whole, fmt.Sprintf("%d %d %q", frame.Type, frame.Flags, frame.Payload))
			rest = rest[n:]
		}

		src := &cutReader{in, rand.New(rand.NewPCG(seed, 0))}
		r := NewFrameReader(src)
		for i, want := range whole {
			frame, err := r.Next()
			got := fmt.Sprintf("%d %d %q", frame.Type, frame.Flags, frame.Payload)
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Fatalf("in %q: result %d in pieces is %s, whole it is %s", in, i, got, want)
			}
			if limit := max(frameBufferMin, 2*len(in)); cap(r.buf) > limit {
				t.Fatalf("%d bytes have arrived, the reader holds %d", len(in), cap(r.buf))
			}
		}
	})
}

// end is how a reader reports the end of a stream with so many bytes left over.
func end(left int) string {
	if left == 0 {
		return io.EOF.Error()
	}
	return io.ErrUnexpectedEOF.Error()
}

// cutReader returns its bytes in pieces of random sizes.
type cutReader struct {
	rest   []byte
	random *rand.Rand
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest[:min(len(r.rest), 1+r.random.IntN(20))])
	r.rest = r.rest[n:]
	return n, nil
}
