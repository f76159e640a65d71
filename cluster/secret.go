package cluster

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"sync"
)

// Keys are what a grid's shared secret becomes: one key for each use, so that what is made with one says nothing to another.
type Keys struct {
	handshake, packet [keySize]byte
	gossip            []byte    // nil without a secret
	packetMACs        sync.Pool // of *packetMAC
}

const (
	keySize       = 32 // bytes
	secretSizeMin = 16 // bytes; whoever records a handshake can try secrets at leisure, so a word will not do
)

// NewKeys derives the keys from the contents of a secret file. White space around the secret does not count: an editor's
// line end must not keep a node out.
func NewKeys(secret []byte) (*Keys, error) {
	secret = bytes.TrimSpace(secret)
	if len(secret) < secretSizeMin {
		return nil, fmt.Errorf("the secret has %d bytes, and needs at least %d: make one with `openssl rand -hex 32`", len(secret), secretSizeMin)
	}
	k := derive(secret)
	k.gossip = subkey(secret, "gossip")
	return k, nil
}

// NoSecret are the keys of a grid that runs without: anybody has them, so they authenticate nobody. They do keep nodes that
// have a secret apart from those that have none.
func NoSecret() *Keys { return derive(nil) }

func derive(secret []byte) *Keys {
	k := &Keys{}
	copy(k.handshake[:], subkey(secret, "handshake"))
	copy(k.packet[:], subkey(secret, "packet"))
	k.packetMACs.New = func() any { return &packetMAC{hash: hmac.New(sha256.New, k.packet[:])} }
	return k
}

func subkey(secret []byte, use string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "neargrid 1 "+use, keySize)
	if err != nil {
		panic("cluster: derive key: " + err.Error()) // it refuses sizes only, and ours is fixed
	}
	return key
}

// GossipKey is memberlist's SecretKey, 32 bytes; nil without a secret, and then gossip is not encrypted. Gossip packets have
// no protection but this.
func (k *Keys) GossipKey() []byte { return bytes.Clone(k.gossip) }

// mac authenticates parts that cannot be divided in another way: each is of fixed size, says its own, or is the last.
func mac(key *[keySize]byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key[:])
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
