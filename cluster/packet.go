package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"

	"github.com/neargrid/neargrid/cluster/core"
)

// PacketKind is the first byte of a packet.
type PacketKind uint8

const (
	// PacketGossip is memberlist's, which encrypts it with GossipKey.
	PacketGossip PacketKind = 1
	// PacketBeacon is for leases: beacons and their acks (R6, R7).
	PacketBeacon PacketKind = 2
	// PacketHeartbeat is for the voters (R3).
	PacketHeartbeat PacketKind = 3

	packetKinds = 4 // kinds are below
)

func (k PacketKind) String() string {
	switch k {
	case PacketGossip:
		return "gossip packet"
	case PacketBeacon:
		return "beacon"
	case PacketHeartbeat:
		return "heartbeat"
	}
	return fmt.Sprintf("packet kind %d", uint8(k))
}

// sealed tells whether packets of the kind are in the form of Seal.
func (k PacketKind) sealed() bool { return k == PacketBeacon || k == PacketHeartbeat }

// PacketSizeMax bounds a packet with all its headers, in bytes. Where one should not be cut on its way, 1400 is wise.
const PacketSizeMax = 65507

const (
	packetVersion = 1
	packetMACSize = 16 // bytes: a forger has one try a packet, and none offline
	nodeIDSizeMax = 255
)

var (
	errPacket       = errors.New("malformed packet")
	errPacketMAC    = errors.New("packet with a wrong checksum: another secret, or changed on its way")
	errPacketNotFor = errors.New("packet for another incarnation")
)

// Seal appends a packet to dst:
//
//	1 B   kind
//	1 B   version
//	16 B  incarnation of the receiver
//	16 B  incarnation of the sender
//	1 B   length of the sender's node id, and the id
//	      payload
//	16 B  HMAC-SHA256 of all before and of the receiver's node id, cut short
//
// It proves who sent what to whom, not when: a packet may come twice or late, as UDP does by itself, and whoever is on the
// way can see to it. The protocols above stand that. A beacon's ack echoes the beacon's send time, from which the lease
// counts (R7), so an old ack extends nothing. Whatever counts by its arrival, as a heartbeat does, must carry a number that
// only rises, and count when it is new. Grids need no mention: no incarnation is in two.
func (k *Keys) Seal(dst []byte, kind PacketKind, from, to core.Member, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, byte(kind), packetVersion)
	dst = append(dst, to.Inc[:]...)
	dst = append(dst, from.Inc[:]...)
	dst = append(dst, byte(len(from.Node)))
	dst = append(dst, from.Node...)
	dst = append(dst, payload...)
	m := k.packetMACs.Get().(*packetMAC)
	defer k.packetMACs.Put(m)
	return append(dst, m.of(dst[start:], to)...)
}

// Open checks a packet to self and returns its sender and its payload, a part of packet.
func (k *Keys) Open(packet []byte, self core.Member) (kind PacketKind, from core.Member, payload []byte, err error) {
	const head = 1 + 1 + 16 + 16 + 1
	if len(packet) < head+packetMACSize || packet[1] != packetVersion {
		return 0, from, nil, errPacket
	}
	if core.Incarnation(packet[2:18]) != self.Inc {
		return 0, from, nil, errPacketNotFor
	}
	end := len(packet) - packetMACSize
	m := k.packetMACs.Get().(*packetMAC)
	defer k.packetMACs.Put(m)
	if !hmac.Equal(packet[end:], m.of(packet[:end], self)) {
		return 0, from, nil, errPacketMAC
	}
	body := head + int(packet[head-1])
	if body > end {
		return 0, from, nil, errPacket
	}
	from = core.Member{Node: core.NodeID(packet[head:body]), Inc: core.Incarnation(packet[18:34])}
	return PacketKind(packet[0]), from, packet[body:end:end], nil
}

// packetMAC makes the checksums of packets, one after the other: half the work is for the key, and is done once.
type packetMAC struct {
	hash hash.Hash
	id   [1 + nodeIDSizeMax]byte
	sum  [sha256.Size]byte
}

// of returns a packet's checksum, which stays until the next.
func (m *packetMAC) of(packet []byte, to core.Member) []byte {
	m.hash.Reset()
	m.id[0] = byte(len(to.Node))
	m.hash.Write(m.id[:1+copy(m.id[1:], to.Node)])
	m.hash.Write(packet)
	return m.hash.Sum(m.sum[:0])[:packetMACSize]
}
