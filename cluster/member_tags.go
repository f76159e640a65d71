package cluster

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/memberlist"

	"github.com/neargrid/neargrid/cluster/core"
)

// Tags as they travel, in what memberlist calls meta. It has little room, so they are one tag of Serf's, with an empty name:
//
//	6 B   metaHead and the length: Serf's mark, and a map with one entry in msgpack
//	1 B   version
//	1 B   role
//	16 B  grid
//	16 B  incarnation
//	4 B   feature level from
//	4 B   to
//	      client address, cluster address, zone, version of the program: 1 B length and the bytes, each
//
// Further fields may follow; who does not know them skips them.
const (
	metaHead    = "\xff\x81\xa0\xda"
	tagsVersion = 1
	tagsSizeMax = memberlist.MetaMaxSize - len(metaHead) - 2 // bytes
	tagSizeMax  = 255
)

func serfTags(encoded string) map[string]string { return map[string]string{"": encoded} }

func encodeTags(id Identity, tags Tags) (string, error) {
	b := []byte{tagsVersion, byte(tags.Role)}
	b = append(b, id.Grid[:]...)
	b = append(b, id.Member.Inc[:]...)
	b = binary.LittleEndian.AppendUint32(b, id.FeatureMin)
	b = binary.LittleEndian.AppendUint32(b, id.FeatureMax)
	room := tagsSizeMax - len(b)
	for _, s := range []string{tags.Client, tags.Cluster, tags.Zone, tags.Version} {
		if len(s) > tagSizeMax {
			return "", fmt.Errorf("a tag of %d bytes, and %d are allowed: it begins with %.40q", len(s), tagSizeMax, s)
		}
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	if over := len(b) - tagsSizeMax; over > 0 {
		return "", fmt.Errorf("addresses, zone and version need %d bytes together, and there is room for %d", room+over, room)
	}
	return string(b), nil
}

func parseMeta(meta []byte, node core.NodeID) (Identity, Tags, error) {
	b, ok := bytes.CutPrefix(meta, []byte(metaHead))
	if !ok || len(b) < 2 || len(b)-2 != int(binary.BigEndian.Uint16(b)) {
		return Identity{}, Tags{}, fmt.Errorf("%w: tags of %s: a form that this node does not know", ErrVersion, node)
	}
	return parseTags(b[2:], node)
}

func parseTags(b []byte, node core.NodeID) (Identity, Tags, error) {
	id, tags := Identity{Member: core.Member{Node: node}}, Tags{}
	const head = 2 + 16 + 16 + 4 + 4
	if len(b) < head || b[0] != tagsVersion {
		return id, tags, fmt.Errorf("%w: tags of %s: not version %d", ErrVersion, node, tagsVersion)
	}
	tags.Role = core.Role(b[1])
	id.Grid = [16]byte(b[2:])
	id.Member.Inc = core.Incarnation(b[18:])
	id.FeatureMin, id.FeatureMax = binary.LittleEndian.Uint32(b[34:]), binary.LittleEndian.Uint32(b[38:])
	b = b[head:]
	for _, s := range []*string{&tags.Client, &tags.Cluster, &tags.Zone, &tags.Version} {
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return id, tags, fmt.Errorf("%w: tags of %s: cut short", ErrVersion, node)
		}
		*s, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	return id, tags, nil
}
