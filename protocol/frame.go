package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Frame is one message, or a piece of one, between nodes. What Type and Flags mean is the business of the stream it is on.
type Frame struct {
	Type    uint8
	Flags   uint16
	Payload []byte
}

// FrameSizeMax bounds the payload of a frame, in bytes. A sender cuts what is larger (R18), so that nothing small waits for
// long behind it and no receiver needs a larger buffer.
const FrameSizeMax = 256 << 10

// FrameHeaderSize is what a frame has before its payload, in bytes.
const FrameHeaderSize = 12

const frameVersion = 1

// What a header's fields stand at; those of more than one byte are little endian.
const (
	frameAtVersion  = 0
	frameAtType     = 1
	frameAtFlags    = 2
	frameAtLength   = 4 // of the payload
	frameAtChecksum = 8 // CRC32C of the header before it and of the payload
)

// ErrFrame is wrapped by every error about a frame's bytes. The stream they came on is of no use any more.
var ErrFrame = errors.New("malformed frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendFrame appends a frame to dst. The payload has at most FrameSizeMax bytes.
func AppendFrame(dst []byte, f Frame) []byte {
	start := len(dst)
	return EndFrame(append(BeginFrame(dst, f.Type, f.Flags), f.Payload...), start)
}

// BeginFrame appends a header to dst, to which the caller appends the payload and then calls EndFrame: so a message is
// encoded where it is sent from, without a copy.
func BeginFrame(dst []byte, typ uint8, flags uint16) []byte {
	dst = append(dst, frameVersion, typ)
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // length and checksum, by EndFrame
}

// EndFrame completes the frame that begins at start and ends with dst. It panics where the payload is larger than
// FrameSizeMax: to cut it was the caller's duty.
func EndFrame(dst []byte, start int) []byte {
	frame := dst[start:]
	size := len(frame) - FrameHeaderSize
	if size < 0 || size > FrameSizeMax {
		panic(fmt.Sprintf("protocol: a frame with %d bytes of payload", size))
	}
	binary.LittleEndian.PutUint32(frame[frameAtLength:], uint32(size))
	binary.LittleEndian.PutUint32(frame[frameAtChecksum:], frameChecksum(frame))
	return dst
}

// ParseFrame reads the frame at the start of buf. n is its length; 0 while buf does not hold all of it, and then need is how
// long buf must get before it is worth trying again. Payload is a part of buf. An error comes as soon as the bytes that
// show it are there.
func ParseFrame(buf []byte) (f Frame, n, need int, err error) {
	if len(buf) > frameAtVersion && buf[frameAtVersion] != frameVersion {
		return f, 0, 0, fmt.Errorf("%w: version %d, and this program knows %d", ErrFrame, buf[frameAtVersion], frameVersion)
	}
	if len(buf) < FrameHeaderSize {
		return f, 0, FrameHeaderSize, nil
	}
	size := binary.LittleEndian.Uint32(buf[frameAtLength:])
	if size > FrameSizeMax {
		return f, 0, 0, fmt.Errorf("%w: %d bytes of payload, and a frame has at most %d", ErrFrame, size, FrameSizeMax)
	}
	n = FrameHeaderSize + int(size)
	if len(buf) < n {
		return f, 0, n, nil
	}
	frame := buf[:n:n]
	if got, want := frameChecksum(frame), binary.LittleEndian.Uint32(frame[frameAtChecksum:]); got != want {
		return f, 0, 0, fmt.Errorf("%w: checksum %08x, and its bytes give %08x", ErrFrame, want, got)
	}
	f = Frame{Type: frame[frameAtType], Flags: binary.LittleEndian.Uint16(frame[frameAtFlags:]), Payload: frame[FrameHeaderSize:]}
	return f, n, n, nil
}

func frameChecksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:frameAtChecksum], castagnoli), castagnoli, frame[FrameHeaderSize:])
}

// FrameReader takes frames from a stream. It may read ahead of the frame it returns. Its memory follows the bytes that have
// arrived, never a length that was only announced: at most twice as many, and 4 KiB.
type FrameReader struct {
	src io.Reader
	buf []byte // buf[at:] is not parsed yet; its capacity is the reader's memory
	at  int
}

const frameBufferMin = 4 << 10 // bytes

// NewFrameReader reads frames from src.
func NewFrameReader(src io.Reader) *FrameReader { return &FrameReader{src: src} }

// NewFrameReaderSize is NewFrameReader with a buffer of at least size bytes from the start, for streams on which much comes at a time: what
// one read has brought is what Ready knows of.
func NewFrameReaderSize(src io.Reader, size int) *FrameReader {
	return &FrameReader{src: src, buf: make([]byte, 0, size)}
}

// Next returns the next frame; its payload is valid until the next call. After an error of the stream, such as a deadline,
// what has arrived of a frame is kept and Next may be called again. The end of the stream is io.EOF between frames, and
// io.ErrUnexpectedEOF within one.
func (r *FrameReader) Next() (Frame, error) {
	for {
		f, n, need, err := ParseFrame(r.buf[r.at:])
		if err != nil {
			return Frame{}, err
		}
		if n > 0 {
			r.at += n
			return f, nil
		}
		if err := r.fill(need); err != nil {
			return Frame{}, err
		}
	}
}

// Ready tells whether Next has something to return without reading, so that answers may wait for more to go with them.
func (r *FrameReader) Ready() bool {
	rest := r.buf[r.at:]
	return len(rest) >= FrameHeaderSize &&
		len(rest)-FrameHeaderSize >= int(min(binary.LittleEndian.Uint32(rest[frameAtLength:]), FrameSizeMax))
}

// fill reads once, having made room for more where there is none: for up to need bytes of a frame in all, and no more than
// twice what is there.
func (r *FrameReader) fill(need int) error {
	if r.at > 0 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.at:])]
		r.at = 0
	}
	have := len(r.buf)
	if have == cap(r.buf) {
		grown := make([]byte, have, max(frameBufferMin, min(need, 2*have)))
		copy(grown, r.buf)
		r.buf = grown
	}
	n, err := r.src.Read(r.buf[have:cap(r.buf)])
	r.buf = r.buf[:have+n]
	switch {
	case n > 0:
		return nil // an error, if there was one, comes again
	case errors.Is(err, io.EOF) && have > 0:
		return io.ErrUnexpectedEOF
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}
