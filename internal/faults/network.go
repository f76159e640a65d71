package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// network is a bridge of this machine, and for each node a network namespace of its own on it. The clients stand at the bridge. A node
// that is cut off from another sends to a machine that is not there: nobody is told, as where packets are lost on the way.
type network struct {
	name   string // of the bridge; namespaces are called after it
	prefix string // of addresses, such as "198.18.7."
	spaces int
}

// nodesMax bounds the nodes of a network; the last byte of an address is above it.
const nodesMax = 200

// openNetwork makes a network. errLeftOut: this machine does not allow it.
func openNetwork() (*network, error) {
	pid := os.Getpid()
	n := &network{name: "ngf" + strconv.Itoa(pid%100000), prefix: fmt.Sprintf("198.18.%d.", pid%256)}
	for _, words := range []string{
		"link add name " + n.name + " type bridge",
		"addr add " + n.prefix + "254/24 dev " + n.name,
		"link set " + n.name + " up",
	} {
		if err := ip(words); err != nil {
			n.close()
			return nil, fmt.Errorf("%w: network namespaces: %w", errLeftOut, err)
		}
	}
	return n, nil
}

// close removes what was made.
func (n *network) close() {
	for i := 1; i <= n.spaces; i++ {
		_ = ip("netns del " + n.space(i))
	}
	_ = ip("link del " + n.name)
}

func (n *network) space(number int) string { return n.name + "-" + strconv.Itoa(number) }

func (n *network) host(number int) string { return n.prefix + strconv.Itoa(number) }

// add makes the place of a node.
func (n *network) add(number int) error {
	if number > nodesMax {
		return fmt.Errorf("there is no room for node %d", number)
	}
	n.spaces = max(n.spaces, number)
	space, outer := n.space(number), n.name+"v"+strconv.Itoa(number)
	for _, words := range []string{
		"netns add " + space,
		"link add " + outer + " type veth peer name eth0 netns " + space,
		"link set " + outer + " master " + n.name + " up",
		"-n " + space + " addr add " + n.host(number) + "/24 dev eth0",
		"-n " + space + " link set eth0 up",
		"-n " + space + " link set lo up",
	} {
		if err := ip(words); err != nil {
			return fmt.Errorf("%w: network namespaces: %w", errLeftOut, err)
		}
	}
	return nil
}

// nowhere is the address of a machine that is not there.
const nowhere = "02:00:5e:00:53:fe"

// cut loses all that a node sends to another from now on.
func (n *network) cut(from, to int) error {
	return ip("-n " + n.space(from) + " neigh replace " + n.host(to) + " lladdr " + nowhere + " dev eth0 nud permanent")
}

// heal ends a cut.
func (n *network) heal(from, to int) error {
	return ip("-n " + n.space(from) + " neigh del " + n.host(to) + " dev eth0")
}

func ip(words string) error {
	out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// startGridOn starts a grid of which each node has its place in a network.
func (l *lab) startGridOn(ctx context.Context, n *network, nodes int, flags ...string) (*grid, error) {
	g, err := l.newGrid(append(flags, "--insecure")...)
	if err != nil {
		return nil, err
	}
	g.hosts = func(number int) (string, []string) {
		return n.host(number), []string{"ip", "netns", "exec", n.space(number)}
	}
	for i := range nodes {
		if err = n.add(i + 1); err != nil {
			break
		}
		if _, err = g.add(ctx); err != nil {
			break
		}
	}
	if err == nil {
		err = errors.Join(g.whole(ctx), g.voting(ctx))
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}
