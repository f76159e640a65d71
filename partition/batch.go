package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Batch is the sealed effects of one command (or one MULTI) on one partition: what a backup applies, the log records and
// every feed carries.
type Batch struct {
	Partition int
	Seq       uint64 // counts up by one in each partition
	TimeMs    int64  // log time, ms since 1970
	Kind      BatchKind
	// Origin is the number of the grid in which it was executed first; 0: this one.
	Origin uint64
	// Group is shared by the batches of one transaction over GroupSize partitions; 0 for a transaction on one.
	Group     uint64
	GroupSize int
	Count     int // effects
	Effects   []byte
	// Fields are what later versions add: for each a type and a length, as varints, and its bytes. They are carried along, and a type
	// that is not known changes nothing of what the batch does.
	Fields []byte
}

// BatchKind says what a batch is to its partition. A batch of a kind that this version does not know is never skipped: its copy
// cannot follow any more (R28). The numbers of those to come are fixed: 1 prepare, 2 commit, 3 abort, 4 marker.
type BatchKind uint8

// BatchEffects are effects, to be applied at once.
const BatchEffects BatchKind = 0

const batchVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBatch encodes b:
//
//	1 B  version
//	1 B  kind
//	     varints: partition, sequence, time in ms, origin, group, group size, count, length of fields, length of effects
//	     fields, effects
//	4 B  CRC32C of all before
func AppendBatch(dst []byte, b Batch) []byte {
	start := len(dst)
	dst = append(dst, batchVersion, byte(b.Kind))
	for _, v := range [...]uint64{
		uint64(b.Partition), b.Seq, uint64(b.TimeMs), b.Origin, b.Group, uint64(b.GroupSize), uint64(b.Count),
		uint64(len(b.Fields)), uint64(len(b.Effects)),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = append(append(dst, b.Fields...), b.Effects...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// ErrBatch is what every failure to decode or apply a batch wraps.
var ErrBatch = errors.New("malformed batch")

// DecodeBatch reads one batch from the start of src and returns what follows it. Effects and Fields are parts of src.
func DecodeBatch(src []byte) (b Batch, rest []byte, err error) {
	if len(src) < 2 || src[0] != batchVersion {
		return b, src, fmt.Errorf("%w: unknown version", ErrBatch)
	}
	var head [9]uint64
	at := 2
	for i := range head {
		v, n := binary.Uvarint(src[at:])
		if n <= 0 {
			return b, src, fmt.Errorf("%w: short header", ErrBatch)
		}
		head[i], at = v, at+n
	}
	fields, effects, left := head[7], head[8], uint64(len(src)-at)
	if fields > left || effects > left-fields || left-fields-effects < 4 {
		return b, src, fmt.Errorf("%w: %d and %d bytes announced, %d there", ErrBatch, fields, effects, left)
	}
	middle := at + int(fields)
	end := middle + int(effects)
	if got, want := crc32.Checksum(src[:end], castagnoli), binary.LittleEndian.Uint32(src[end:]); got != want {
		return b, src, fmt.Errorf("%w: checksum %08x, want %08x", ErrBatch, got, want)
	}
	// After the checksum: a kind that was not meant is a damage, and one that was meant is of a later version.
	if kind := BatchKind(src[1]); kind != BatchEffects {
		return b, src, fmt.Errorf("%w: of kind %d, which this version does not know", ErrBatch, kind)
	}
	if !fieldsFit(src[at:middle]) {
		return b, src, fmt.Errorf("%w: fields", ErrBatch)
	}
	b = Batch{
		Partition: int(head[0]), Seq: head[1], TimeMs: int64(head[2]), Origin: head[3], Group: head[4], GroupSize: int(head[5]),
		Count: int(head[6]), Fields: src[at:middle], Effects: src[middle:end],
	}
	return b, src[end+4:], nil
}

// fieldsFit tells whether fields fill their place exactly.
func fieldsFit(b []byte) bool {
	for len(b) > 0 {
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		size, m := binary.Uvarint(b[n:])
		if m <= 0 || size > uint64(len(b)-n-m) {
			return false
		}
		b = b[n+m+int(size):]
	}
	return true
}
