package goredis

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/neargrid/neargrid/client"
)

// pipelineFlights is how many commands of one pipeline are looked up at a time.
const pipelineFlights = 64

// Near is the near cache of a go-redis client.
type Near struct{ c *client.Client }

// Attach has read-only commands of a *redis.Client or *redis.ClusterClient answered from a near cache. Close ends that: from then on commands
// go their own way again.
//
// Credentials that change over time (CredentialsProvider and its like) are not known to it: give such clients a Client of their own, and Hook.
func Attach(ctx context.Context, rdb redis.UniversalClient, o client.NearCache) (*Near, error) {
	addrs, options, err := optionsOf(rdb)
	if err != nil {
		return nil, err
	}
	options.NearCache = &o
	c, err := client.Connect(ctx, addrs, options)
	if err != nil {
		return nil, err
	}
	rdb.AddHook(Hook(c))
	return &Near{c}, nil
}

// Close ends the near cache and its connections.
func (n *Near) Close() { n.c.Close() }

// Client returns the client whose near cache it is.
func (n *Near) Client() *client.Client { return n.c }

// Hook returns a hook for go-redis's AddHook, with the near cache of a client that is connected to the same servers and database.
func Hook(c *client.Client) redis.Hook { return &hook{c} }

// optionsOf takes addresses and options from a go-redis client.
func optionsOf(rdb redis.UniversalClient) (addrs []string, o client.Options, err error) {
	switch rdb := rdb.(type) {
	case *redis.Client:
		from := rdb.Options()
		if from.CredentialsProvider != nil || from.CredentialsProviderContext != nil || from.StreamingCredentialsProvider != nil {
			return nil, o, fmt.Errorf("goredis: Attach does not know credentials that change; connect a client.Client and use Hook")
		}
		addr := from.Addr
		if from.Network == "unix" {
			addr = "unix:" + addr
		}
		// Its dialer puts TLS on top by itself.
		return []string{addr}, client.Options{
			Username: from.Username, Password: from.Password, DB: from.DB, DialTimeout: from.DialTimeout, Dial: from.Dialer,
		}, nil
	case *redis.ClusterClient:
		from := rdb.Options()
		return from.Addrs, client.Options{
			Username: from.Username, Password: from.Password, DialTimeout: from.DialTimeout, Dial: from.Dialer, TLS: from.TLSConfig,
		}, nil
	}
	return nil, o, fmt.Errorf("goredis: Attach does not know a %T; give it a *redis.Client or *redis.ClusterClient", rdb)
}

type hook struct{ c *client.Client }

// DialHook changes nothing.
func (h *hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook answers a command from the near cache, or has it go its way.
func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args, known := words(cmd.Args())
		if known && h.near(ctx, cmd, args) {
			return cmd.Err()
		}
		done := h.outside(args, known)
		defer done()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook answers a pipeline of nothing but near reads from the near cache, or has it go its way.
func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		lines := make([][]string, len(cmds))
		all := true
		for i, cmd := range cmds {
			args, known := words(cmd.Args())
			if !known {
				args = nil
			}
			lines[i] = args
			all = all && known && len(args) > 0 && fillable(cmd) && h.c.Nears(args...)
		}
		if all && h.nearAll(ctx, cmds, lines) {
			return firstError(cmds)
		}
		for _, line := range lines {
			done := h.outside(line, line != nil)
			defer done()
		}
		return next(ctx, cmds)
	}
}

// near answers a command from the near cache, and tells whether it could.
func (h *hook) near(ctx context.Context, cmd redis.Cmder, args []string) bool {
	if len(args) == 0 || !fillable(cmd) || !h.c.Nears(args...) {
		return false
	}
	r, err := h.c.Do(ctx, args...)
	if err != nil {
		return false // the command's own way tells what is wrong, in go-redis's words
	}
	return fill(cmd, r)
}

// nearAll answers a pipeline, and tells whether it could answer all of it.
func (h *hook) nearAll(ctx context.Context, cmds []redis.Cmder, lines [][]string) bool {
	could := make([]bool, len(cmds))
	slots := make(chan struct{}, pipelineFlights)
	var wg sync.WaitGroup
	for i := range cmds {
		slots <- struct{}{}
		wg.Go(func() {
			could[i] = h.near(ctx, cmds[i], lines[i])
			<-slots
		})
	}
	wg.Wait()
	for i := range cmds {
		if !could[i] {
			for _, cmd := range cmds {
				cmd.SetErr(nil)
			}
			return false
		}
	}
	return true
}

// outside tells the near cache of a command that goes another way.
func (h *hook) outside(args []string, known bool) (done func()) {
	if !known {
		return h.c.Outside()
	}
	if len(args) == 0 {
		return func() {}
	}
	return h.c.Outside(args...)
}

func firstError(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}
