package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/neargrid/neargrid/cluster/core"
)

// admission is what memberlist asks before it believes that a node is a member.
type admission struct{ *Membership }

var (
	_ memberlist.AliveDelegate = admission{}
	_ memberlist.MergeDelegate = admission{}
)

// NotifyMerge is asked about a list of members that another node sends, by both sides of a Join. An error refuses it whole.
func (a admission) NotifyMerge(peers []*memberlist.Node) error {
	listed := map[core.NodeID]*memberlist.Node{}
	for _, n := range peers {
		if n.State == memberlist.StateAlive || n.State == memberlist.StateSuspect {
			listed[core.NodeID(n.Name)] = n
		}
	}
	if err := a.checkList(listed); err != nil {
		a.refused(err)
		return err
	}
	if slices.ContainsFunc(peers, func(n *memberlist.Node) bool {
		return n.Name == string(a.own()) && peerPort(n.Addr, n.Port) != a.transport.Addr()
	}) {
		select {
		case a.moved <- struct{}{}:
		default:
		}
	}
	return nil
}

// checkList tells why nodes that another one takes for alive cannot be members together with those that this one does. Both
// sides of a Join know both lists, and so come to the same answer, except about a former start.
func (a admission) checkList(listed map[core.NodeID]*memberlist.Node) error {
	if a.serf.Load() == nil {
		return fmt.Errorf("%w: membership is about to start", ErrNotServed)
	}
	a.mu.Lock()
	grid := a.mu.learned
	a.mu.Unlock()
	here := a.Members()
	for node, n := range listed {
		id, err := a.check(n, grid)
		if err != nil {
			return err
		}
		grid = known(grid, id.Grid)
		for _, i := range here {
			at := peerPort(n.Addr, n.Port)
			switch {
			case i.Status != MemberAlive:
			case i.Member.Node == node && i.Peer != at:
				return fmt.Errorf("%w: %s is at %s, and alive at %s", ErrNodeTwice, node, at, i.Peer)
			case node == a.own() || listed[i.Member.Node] != nil: // what is listed may be newer
			case max(i.FeatureMin, id.FeatureMin) > min(i.FeatureMax, id.FeatureMax):
				return fmt.Errorf("%w: %s speaks feature levels %d to %d, and %s %d to %d", ErrVersion,
					id.Member, id.FeatureMin, id.FeatureMax, i.Member, i.FeatureMin, i.FeatureMax)
			}
		}
	}
	return former(listed, here)
}

// former tells whether a list is of nodes that have met nobody this node knows, and names one that is remembered dead at another
// address. Its number in memberlist then begins at one again, and memberlist, for the sake of the new address, would take it: any late
// news of the former start's death would be the newer one, and taken for the new start's. The node that is refused has got this node's
// list by then. From that it learns the number to go beyond, and it comes again, with the list that it has then.
func former(listed map[core.NodeID]*memberlist.Node, here []MemberInfo) error {
	var dead *MemberInfo
	for i := range here {
		n := listed[here[i].Member.Node]
		switch {
		case n == nil:
		case peerPort(n.Addr, n.Port) == here[i].Peer:
			return nil
		case here[i].Status != MemberAlive:
			dead = &here[i]
		}
	}
	if dead == nil {
		return nil
	}
	return fmt.Errorf("%w: %s was at %s: it is to come again", errFormer, dead.Member, dead.Peer)
}

// NotifyAlive is asked about each node that anybody says is alive, and must not call memberlist, whose lock is held. That an
// address is new is memberlist's to judge: it knows whether the node was dead, and refutes what is wrong about the node itself.
func (a admission) NotifyAlive(n *memberlist.Node) error {
	if n.Name == string(a.own()) {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id, err := a.check(n, a.mu.learned)
	if err != nil {
		return err
	}
	if s := a.serf.Load(); s != nil && s.NumNodes() >= membersMax && !isListed(s.Members(), n.Name) {
		return fmt.Errorf("no room for %s: %d nodes are known", id.Member, membersMax)
	}
	a.mu.learned = known(a.mu.learned, id.Grid)
	return nil
}

// check tells why a node cannot be a member; grid is what the members are known to be of. The node itself may be listed as it
// was before a restart, of any grid.
func (a admission) check(n *memberlist.Node, grid [16]byte) (Identity, error) {
	if n.Name == string(a.own()) {
		return Identity{}, nil
	}
	id, _, err := parseMeta(n.Meta, core.NodeID(n.Name))
	if err != nil {
		return Identity{}, err
	}
	if !peerPort(n.Addr, n.Port).IsValid() {
		return id, fmt.Errorf("%s has an address of %d bytes", id.Member, len(n.Addr))
	}
	self := a.transport.Identity()
	self.Grid = known(self.Grid, grid)
	return id, compatible(self, id)
}

func isListed(members []serf.Member, name string) bool {
	return slices.ContainsFunc(members, func(m serf.Member) bool { return m.Name == name })
}

// known is the grid that is not zero, the first one if both are not.
func known(a, b [16]byte) [16]byte {
	if a == [16]byte{} {
		return b
	}
	return a
}

func peerPort(ip net.IP, port uint16) netip.AddrPort {
	return addrPort(&net.UDPAddr{IP: ip, Port: int(port)})
}
