package testgrid

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
)

// Network is a bridge of this machine, and for each node a network namespace of its own on it. The clients stand at the bridge. A node
// that is cut off from another sends to a machine that is not there: nobody is told, as where packets are lost on the way.
type Network struct {
	name   string // of the bridge; namespaces are called after it
	prefix string // of addresses, such as "198.18.7."
	places []int
}

// ErrLeftOut: something cannot be tried on this machine.
var ErrLeftOut = errors.New("left out")

// nodesMax bounds the nodes of a network; the last byte of an address is above it.
const nodesMax = 200

// networksMax bounds the networks of one process.
const networksMax = 16

var opened atomic.Int32

// OpenNetwork makes a network. ErrLeftOut: this machine does not allow it.
func OpenNetwork() (*Network, error) {
	pid, number := os.Getpid(), int(opened.Add(1)-1)%networksMax
	n := &Network{name: fmt.Sprintf("ngf%d%c", pid%100000, 'a'+number), prefix: fmt.Sprintf("198.18.%d.", (pid+number*networksMax)%256)}
	for _, words := range []string{
		"link add name " + n.name + " type bridge",
		"addr add " + n.prefix + "254/24 dev " + n.name,
		"link set " + n.name + " up",
	} {
		if err := ip(words); err != nil {
			n.Close()
			return nil, fmt.Errorf("%w: network namespaces: %w", ErrLeftOut, err)
		}
	}
	return n, nil
}

// Close removes what was made.
func (n *Network) Close() {
	for _, number := range n.places {
		_ = ip("netns del " + n.space(number))
	}
	_ = ip("link del " + n.name)
}

func (n *Network) space(number int) string { return n.name + "-" + strconv.Itoa(number) }

// Host is the address of a place.
func (n *Network) Host(number int) string { return n.prefix + strconv.Itoa(number) }

// Prefix are the words that start a program in a place.
func (n *Network) Prefix(number int) []string {
	return []string{"ip", "netns", "exec", n.space(number)}
}

// Add makes the place of a node.
func (n *Network) Add(number int) error {
	if number > nodesMax {
		return fmt.Errorf("there is no room for node %d", number)
	}
	n.places = append(n.places, number)
	space, outer := n.space(number), n.name+"v"+strconv.Itoa(number)
	for _, words := range []string{
		"netns add " + space,
		"link add " + outer + " type veth peer name eth0 netns " + space,
		"link set " + outer + " master " + n.name + " up",
		"-n " + space + " addr add " + n.Host(number) + "/24 dev eth0",
		"-n " + space + " link set eth0 up",
		"-n " + space + " link set lo up",
	} {
		if err := ip(words); err != nil {
			return fmt.Errorf("%w: network namespaces: %w", ErrLeftOut, err)
		}
	}
	return nil
}

// nowhere is the address of a machine that is not there.
const nowhere = "02:00:5e:00:53:fe"

// Cut loses all that a node sends to another from now on.
func (n *Network) Cut(from, to int) error {
	return ip("-n " + n.space(from) + " neigh replace " + n.Host(to) + " lladdr " + nowhere + " dev eth0 nud permanent")
}

// Heal ends a cut.
func (n *Network) Heal(from, to int) error {
	return ip("-n " + n.space(from) + " neigh del " + n.Host(to) + " dev eth0")
}

func ip(words string) error {
	out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// StartOn is Start for a grid of which each node, those that are added later too, has its place in a network, by its number from 1.
func (g *Grid) StartOn(ctx context.Context, n *Network, nodes int) error {
	g.Flags = append(g.Flags, "--insecure")
	g.network = n
	return g.Start(ctx, nodes)
}
