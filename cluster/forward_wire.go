package cluster

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// What forwarders say to each other, as bytes: messages in frames, as in wire.go. A command and its answer begin with the number
// that the sender has given the command, in 8 bytes.

// forwardMessage is the type of a message's frames on a Forward stream. A receiver ends the stream at a kind that it does not
// know: a new kind, such as one that calls a blocking command off, needs a feature level (R27). None is needed as long as no
// command that is forwarded blocks.
type forwardMessage uint8

const (
	forwardCommand forwardMessage = 1
	forwardAnswer  forwardMessage = 2
)

// What a command has at most beside its arguments' bytes, and an answer beside its reply, in bytes.
const (
	forwardHeaderMax = 8 + 1 + 1 + 2*8 + 6*binary.MaxVarintLen64
	answerHeaderMax  = 8 + 1 + binary.MaxVarintLen64
)

// forwardFirst and forwardBy are flags beside the kind: First, and that By follows.
const (
	forwardFirst = 0x80
	forwardBy    = 0x40
)

// forwardSizeMax bounds the size of a command's message.
func forwardSizeMax(c *Forwarded) int {
	size := forwardHeaderMax
	for _, arg := range c.Args {
		size += binary.MaxVarintLen64 + len(arg)
	}
	return size
}

func appendForwarded(dst []byte, id uint64, c *Forwarded) []byte {
	kind := byte(c.Kind)
	if c.First {
		kind |= forwardFirst
	}
	if c.By != [2]uint64{} {
		kind |= forwardBy
	}
	dst = append(binary.LittleEndian.AppendUint64(dst, id), kind, byte(c.Resp))
	if kind&forwardBy != 0 {
		dst = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, c.By[0]), c.By[1])
	}
	dst = binary.AppendUvarint(dst, c.Session)
	dst = binary.AppendUvarint(dst, uint64(uint32(c.Partition)))
	dst = binary.AppendUvarint(dst, uint64(uint32(c.DB)))
	dst = binary.AppendUvarint(dst, uint64(min(math.MaxInt32, (c.Timeout+time.Millisecond-1)/time.Millisecond)))
	dst = binary.AppendUvarint(dst, uint64(len(c.Args)))
	for _, arg := range c.Args {
		dst = appendLengthBytes(dst, arg)
	}
	return dst
}

// decodeForwarded reads a command into c; its Args are parts of b, and their array is used again.
func decodeForwarded(b []byte, c *Forwarded) (id uint64, err error) {
	r := wireReader{b: b}
	id = r.fixed()
	kind := r.byte()
	c.First, c.Kind = kind&forwardFirst != 0, ForwardKind(kind&^(forwardFirst|forwardBy))
	c.Resp, c.By = int(r.byte()), [2]uint64{}
	if kind&forwardBy != 0 {
		if c.By = [2]uint64{r.fixed(), r.fixed()}; c.By == [2]uint64{} {
			r.fail()
		}
	}
	c.Session = r.uint()
	partition, db, timeout, count := r.uint(), r.uint(), r.uint(), r.uint()
	// An argument has at least the byte of its length, so no more memory is taken than the bytes that have come are worth.
	if c.Kind >= forwardKinds || partition > math.MaxUint32 || db > math.MaxUint32 || timeout > math.MaxInt32 || count > uint64(len(r.b)) {
		return 0, fmt.Errorf("%w: command", errMessage)
	}
	c.Partition, c.DB, c.Timeout = int(int32(partition)), int(int32(db)), time.Duration(timeout)*time.Millisecond
	c.Args = c.Args[:0]
	for i := uint64(0); i < count && !r.bad; i++ {
		c.Args = append(c.Args, r.bytes())
	}
	return id, r.end("command")
}

func appendAnswer(dst []byte, id uint64, a *Answer) []byte {
	dst = append(binary.LittleEndian.AppendUint64(dst, id), byte(a.Outcome))
	switch a.Outcome {
	case Executed:
		dst = append(dst, a.Reply...)
	case NotExecuted:
		dst = binary.AppendUvarint(dst, a.Version)
	}
	return dst
}

// decodeAnswer reads an answer; its Reply is a part of b.
func decodeAnswer(b []byte) (id uint64, a Answer, err error) {
	r := wireReader{b: b}
	id = r.fixed()
	switch a.Outcome = Outcome(r.byte()); {
	case r.bad:
	case a.Outcome == Executed:
		a.Reply, r.b = r.b, nil
	case a.Outcome == NotExecuted:
		a.Version = r.uint()
	case a.Outcome != Unknown:
		r.fail()
	}
	return id, a, r.end("answer")
}
