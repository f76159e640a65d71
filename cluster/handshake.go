package cluster

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/neargrid/neargrid/cluster/core"
)

// Identity is what a node says of itself to its peers.
type Identity struct {
	Grid   [16]byte // zero: not a member of a grid yet
	Member core.Member
	// Generation is the control plane's that the node follows.
	Generation Generation
	// Feature levels that the node speaks (R27).
	FeatureMin, FeatureMax uint32
}

// StreamKind is what a stream between nodes is for, and the first byte on it.
type StreamKind uint8

const (
	Gossip  StreamKind = 1 // memberlist
	Raft    StreamKind = 2
	Control StreamKind = 3 // heartbeats, pulls of the table, proposals
	Data    StreamKind = 4 // replication, movement
	Forward StreamKind = 5 // commands of clients

	streamKinds = 6 // kinds are below
)

func (k StreamKind) String() string {
	switch k {
	case Gossip:
		return "gossip"
	case Raft:
		return "raft"
	case Control:
		return "control"
	case Data:
		return "data"
	case Forward:
		return "forward"
	}
	return fmt.Sprintf("stream kind %d", uint8(k))
}

// Why two nodes do not talk. Errors of Dial wrap one of these where the peer said, or showed, which.
var (
	// ErrWrongSecret: one side's secret is not the other's, or one has none. It is all that a peer without the secret is told.
	ErrWrongSecret = errors.New("wrong secret")
	// ErrOtherGrid: both are members, of different grids.
	ErrOtherGrid = errors.New("member of another grid")
	// ErrVersion: no feature level is spoken by both (R27).
	ErrVersion = errors.New("incompatible version")
	// ErrSelf: the address leads back to the node itself.
	ErrSelf = errors.New("this is the node itself")
	// ErrNotServed: the peer does not take streams of this kind, or not now; it may be starting or stopping.
	ErrNotServed = errors.New("not served by the peer now")
	// ErrHandshake: the other side speaks something else, or fell silent.
	ErrHandshake = errors.New("no peer handshake")
)

// The handshake. All of it is of small, bounded size; the caller sets a deadline.
//
//	dialer    hello      1 B stream kind, "ngrd", 1 B version, 2 B length, nonce, identity
//	accepter  challenge  1 B status, nonce
//	dialer    proof      MAC of "dialer", hello, challenge
//	accepter  verdict    1 B status, 2 B length, identity, MAC of "accepter", hello, challenge, proof and the verdict before it
//
// The accepter says nothing of itself before the dialer has proved that it knows the secret; after a wrong proof, only
// that. Every other verdict is authenticated, so that a reason comes from a peer and from nobody on the way. The two roles'
// MACs differ, so a proof that is sent back proves nothing; the nonces are fresh, so an old one does not either.
//
// What follows on the stream is plain: the handshake keeps out whoever lacks the secret, not who can read or change the
// traffic of those that have it. That takes TLS.
const (
	helloMagic       = "ngrd"
	handshakeVersion = 1
	nonceSize        = 32
	macSize          = 32
	helloHeadSize    = 1 + len(helloMagic) + 1 + 2
	// bodySizeMax bounds what is announced before anybody is authenticated, in bytes: an identity, and room for fields that
	// later levels add at its end. Those are covered by the MACs, and skipped by who does not know them.
	bodySizeMax = 1 << 10
)

type nonce [nonceSize]byte

// status is a byte of challenge and verdict. Values are part of the protocol: never reuse one.
type status uint8

const (
	statusOK          status = 0
	statusFormat      status = 1 // of a challenge: the handshake's version is not spoken
	statusWrongSecret status = 2
	statusOtherGrid   status = 3
	statusVersion     status = 4
	statusSelf        status = 5
	statusNotServed   status = 6
	statusGeneration  status = 7
)

var statusErrors = map[status]error{
	statusFormat:      ErrVersion,
	statusWrongSecret: ErrWrongSecret,
	statusOtherGrid:   ErrOtherGrid,
	statusVersion:     ErrVersion,
	statusSelf:        ErrSelf,
	statusNotServed:   ErrNotServed,
	statusGeneration:  errGeneration,
}

// errGeneration is what a peer's refusal says; who is refused knows both generations, and says which is the later one.
var errGeneration = errors.New("it follows another control plane")

func statusOf(err error) status {
	for s, e := range statusErrors {
		if s != statusFormat && errors.Is(err, e) {
			return s
		}
	}
	return statusNotServed
}

// dialHandshake is the dialer's side. An error wraps one of those above, or the connection's.
func dialHandshake(c net.Conn, kind StreamKind, self Identity, keys *Keys, fresh nonce) (peer Identity, err error) {
	hello := appendHello(nil, kind, fresh, self)
	if _, err := c.Write(hello); err != nil {
		return peer, handshakeFailed("send hello", err)
	}
	var challenge [1 + nonceSize]byte
	if _, err := io.ReadFull(c, challenge[:1]); err != nil {
		return peer, handshakeFailed("read challenge", err)
	}
	if s := status(challenge[0]); s != statusOK {
		return peer, fmt.Errorf("%w: the peer does not speak version %d of the handshake", ErrVersion, handshakeVersion)
	}
	if _, err := io.ReadFull(c, challenge[1:]); err != nil {
		return peer, handshakeFailed("read challenge", err)
	}

	proof := mac(&keys.handshake, []byte("dialer"), hello, challenge[:])
	if _, err := c.Write(proof); err != nil {
		return peer, handshakeFailed("send proof", err)
	}

	head := make([]byte, 3)
	if _, err := io.ReadFull(c, head[:1]); err != nil {
		return peer, handshakeFailed("read verdict", err)
	}
	if status(head[0]) == statusWrongSecret {
		return peer, fmt.Errorf("%w: the peer has another, or none", ErrWrongSecret)
	}
	if _, err := io.ReadFull(c, head[1:]); err != nil {
		return peer, handshakeFailed("read verdict", err)
	}
	body, err := readBody(c, head[1:])
	if err != nil {
		return peer, handshakeFailed("read verdict", err)
	}
	var theirs [macSize]byte
	if _, err := io.ReadFull(c, theirs[:]); err != nil {
		return peer, handshakeFailed("read verdict", err)
	}
	if !hmac.Equal(theirs[:], mac(&keys.handshake, []byte("accepter"), hello, challenge[:], proof, head, body)) {
		return peer, fmt.Errorf("%w: the peer has another, or none", ErrWrongSecret)
	}
	if peer, err = parseIdentity(body); err != nil {
		return peer, err
	}
	if err := compatible(self, peer); err != nil {
		return peer, err
	}
	if s := status(head[0]); s != statusOK {
		if err := statusErrors[s]; err != nil {
			return peer, fmt.Errorf("refused by %s: %w", peer.Member, err)
		}
		return peer, fmt.Errorf("%w: %s refused with status %d", ErrHandshake, peer.Member, s)
	}
	return peer, nil
}

// acceptHandshake is the accepter's side. admit is asked once the peer is authenticated and compatible; its error refuses.
func acceptHandshake(c net.Conn, self Identity, keys *Keys, fresh nonce, admit func(Identity, StreamKind) error) error {
	hello, err := readHello(c)
	if errors.Is(err, ErrVersion) {
		_, _ = c.Write([]byte{byte(statusFormat)})
	}
	if err != nil {
		return handshakeFailed("read hello", err)
	}
	challenge := append([]byte{byte(statusOK)}, fresh[:]...)
	if _, err := c.Write(challenge); err != nil {
		return handshakeFailed("send challenge", err)
	}
	var proof [macSize]byte
	if _, err := io.ReadFull(c, proof[:]); err != nil {
		return handshakeFailed("read proof", err)
	}
	if !hmac.Equal(proof[:], mac(&keys.handshake, []byte("dialer"), hello, challenge)) {
		_, _ = c.Write([]byte{byte(statusWrongSecret)})
		return ErrWrongSecret
	}

	peer, refused := parseIdentity(hello[helloHeadSize+nonceSize:])
	if refused == nil {
		refused = compatible(self, peer)
	}
	if refused == nil {
		refused = admit(peer, StreamKind(hello[0]))
	}
	verdict := []byte{byte(statusOK)}
	if refused != nil {
		verdict[0] = byte(statusOf(refused))
	}
	body := appendIdentity(nil, self)
	verdict = binary.LittleEndian.AppendUint16(verdict, uint16(len(body)))
	verdict = append(verdict, body...)
	verdict = append(verdict, mac(&keys.handshake, []byte("accepter"), hello, challenge, proof[:], verdict)...)
	if _, err := c.Write(verdict); err != nil && refused == nil {
		return handshakeFailed("send verdict", err)
	}
	if refused != nil {
		return fmt.Errorf("refused %s: %w", peer.Member, refused)
	}
	return nil
}

// compatible tells why two authenticated nodes must not talk. Both sides come to the same answer.
func compatible(self, peer Identity) error {
	var none [16]byte
	switch {
	case self.Member == peer.Member:
		return fmt.Errorf("%w: %s", ErrSelf, self.Member)
	case self.Grid != none && peer.Grid != none && self.Grid != peer.Grid:
		return fmt.Errorf("%w: %s is of grid %x, and this node of grid %x", ErrOtherGrid, peer.Member, peer.Grid, self.Grid)
	case max(self.FeatureMin, peer.FeatureMin) > min(self.FeatureMax, peer.FeatureMax):
		return fmt.Errorf("%w: %s speaks feature levels %d to %d, and this node %d to %d",
			ErrVersion, peer.Member, peer.FeatureMin, peer.FeatureMax, self.FeatureMin, self.FeatureMax)
	}
	return nil
}

// handshakeFailed keeps a named error, and makes any other an ErrHandshake that wraps what the connection said.
func handshakeFailed(op string, err error) error {
	if errors.Is(err, ErrVersion) || errors.Is(err, ErrHandshake) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrHandshake, op, err)
}

func appendHello(dst []byte, kind StreamKind, fresh nonce, self Identity) []byte {
	body := appendIdentity(fresh[:], self)
	dst = append(dst, byte(kind))
	dst = append(dst, helloMagic...)
	dst = append(dst, handshakeVersion)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(body)))
	return append(dst, body...)
}

// readHello returns a hello's bytes, with at least a nonce in it.
func readHello(c net.Conn) ([]byte, error) {
	head := make([]byte, helloHeadSize)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	const atVersion = 1 + len(helloMagic)
	if string(head[1:atVersion]) != helloMagic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrHandshake, head)
	}
	if head[atVersion] != handshakeVersion {
		return nil, fmt.Errorf("%w: version %d of the handshake, and this node speaks %d", ErrVersion, head[atVersion], handshakeVersion)
	}
	body, err := readBody(c, head[atVersion+1:])
	if err == nil && len(body) < nonceSize {
		err = fmt.Errorf("%w: no room for a nonce", ErrHandshake)
	}
	return append(head, body...), err
}

func readBody(c net.Conn, length []byte) ([]byte, error) {
	size := binary.LittleEndian.Uint16(length)
	if size > bodySizeMax {
		return nil, fmt.Errorf("%w: %d bytes announced, and %d are allowed", ErrHandshake, size, bodySizeMax)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(c, body)
	return body, err
}

// appendIdentity encodes: 16 B grid, 16 B incarnation, 4 B feature level from, 4 B to, 1 B length of the node id, the id, the
// generation.
func appendIdentity(dst []byte, id Identity) []byte {
	dst = append(dst, id.Grid[:]...)
	dst = append(dst, id.Member.Inc[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, id.FeatureMin)
	dst = binary.LittleEndian.AppendUint32(dst, id.FeatureMax)
	dst = append(dst, byte(len(id.Member.Node)))
	return appendGeneration(append(dst, id.Member.Node...), id.Generation)
}

func parseIdentity(b []byte) (id Identity, err error) {
	const head = 16 + 16 + 4 + 4 + 1
	if len(b) < head || len(b) < head+int(b[head-1]) || b[head-1] == 0 {
		return id, fmt.Errorf("%w: the identity is incomplete", ErrHandshake)
	}
	return Identity{
		Grid:       [16]byte(b),
		Member:     core.Member{Inc: core.Incarnation(b[16:32]), Node: core.NodeID(b[head : head+int(b[head-1])])},
		FeatureMin: binary.LittleEndian.Uint32(b[32:]),
		FeatureMax: binary.LittleEndian.Uint32(b[36:]),
		Generation: parseGeneration(b[head+int(b[head-1]):]),
	}, nil
}

// check tells whether an identity can be sent at all.
func (id Identity) check() error {
	switch n := len(id.Member.Node); {
	case n == 0 || n > nodeIDSizeMax:
		return fmt.Errorf("a node id of %d bytes: 1 to %d are wanted", n, nodeIDSizeMax)
	case id.FeatureMin > id.FeatureMax:
		return fmt.Errorf("feature levels %d to %d", id.FeatureMin, id.FeatureMax)
	}
	return nil
}
