package cluster

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// Generation names a grid's control plane: the one that was made with the grid is the zero value, one that a person has had begun anew
// (R34) has a number from 1 and an id of its own. Numbers order control planes of which each took the place of the one before. Two of one
// number and different ids were made from the same one, apart: neither takes the other's place.
type Generation struct {
	Number uint64
	ID     [16]byte
}

func (g Generation) String() string {
	if g.Number == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%x)", g.Number, g.ID[:4])
}

var (
	// ErrReplaced: the peer follows a later control plane of the same grid, begun by neargrid recover, which this node is not of.
	ErrReplaced = errors.New("the control plane that this node knows was given up, and another was begun in its place (neargrid recover)")
	// ErrReplacedPeer: the other way round: the peer is of a control plane that was given up.
	ErrReplacedPeer = errors.New("the peer is of a control plane that was given up")
	// ErrForked: the peer follows another control plane, which is as late: two were begun from one, in different places.
	ErrForked = errors.New("two control planes were begun from the same one: only one can go on: stop the nodes of the other, and " +
		"have them begin anew with empty data directories")
)

// generationTermShift: the terms of a generation's raft begin with its number, so that they are above those of all earlier ones.
const generationTermShift = 24

// generationOfTerm is the number of the generation that a term of raft belongs to.
func generationOfTerm(term uint64) uint64 { return term >> generationTermShift }

// against tells why a node of generation g and a peer of another do not talk; nil where they are of the same.
func (g Generation) against(peer Generation) error {
	switch {
	case g == peer:
		return nil
	case g.Number < peer.Number:
		return fmt.Errorf("%w: its generation is %s, and this node's %s", ErrReplaced, peer, g)
	case g.Number > peer.Number:
		return fmt.Errorf("%w: its generation is %s, and this node's %s", ErrReplacedPeer, peer, g)
	}
	return fmt.Errorf("%w: generations %s and %s", ErrForked, g, peer)
}

// appendGeneration encodes: 8 B number, 16 B id.
func appendGeneration(dst []byte, g Generation) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, g.Number), g.ID[:]...)
}

const generationSize = 8 + 16

// parseGeneration decodes what is at the end of an identity; a program that knows no generations sends none.
func parseGeneration(b []byte) (g Generation) {
	if len(b) >= generationSize {
		g.Number = binary.LittleEndian.Uint64(b)
		copy(g.ID[:], b[8:])
	}
	return g
}

// generationJSON is a generation's form in files.
type generationJSON struct {
	Number uint64 `json:"number"`
	ID     string `json:"id"`
}

func generationToJSON(g Generation) *generationJSON {
	if g == (Generation{}) {
		return nil
	}
	return &generationJSON{g.Number, hex.EncodeToString(g.ID[:])}
}

func (j *generationJSON) parse() (g Generation, err error) {
	if j == nil {
		return g, nil
	}
	g.Number = j.Number
	id, err := hex.DecodeString(j.ID)
	if copy(g.ID[:], id) != len(g.ID) && err == nil {
		err = fmt.Errorf("%q is no generation's id", j.ID)
	}
	return g, err
}
