package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/internal/testredis"
)

// startGrid starts a grid of three nodes for an example; stop ends it.
func startGrid() (addr string, stop func()) {
	server, err := testredis.LaunchDev(3)
	if err != nil {
		log.Fatal(err)
	}
	return server.Addr, server.Stop
}

func Example() {
	addr, stop := startGrid() // neargrid dev
	defer stop()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, []string{addr}, client.Options{ClientName: "example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Set(ctx, "page:1", "<html>", time.Minute); err != nil {
		log.Fatal(err)
	}
	page, err := c.Get(ctx, "page:1")
	fmt.Println(page, err)

	_, err = c.Get(ctx, "page:2")
	fmt.Println(errors.Is(err, client.ErrNil))

	// Commands without a method of their own:
	r, err := c.Do(ctx, "SETRANGE", "page:1", "1", "body")
	if err != nil {
		log.Fatal(err)
	}
	length, err := r.Int()
	fmt.Println(length, err)
	// Output:
	// <html> <nil>
	// true
	// 6 <nil>
}

func ExampleClient_Pipeline() {
	addr, stop := startGrid()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, []string{addr}, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	p := c.Pipeline() // to any nodes
	p.Do("SET", "a", "1")
	p.Do("INCR", "a")
	p.Do("LPUSH", "a", "x")
	results, err := p.Exec(ctx)
	for _, r := range results {
		fmt.Println(r.Err == nil)
	}
	fmt.Println(client.IsCode(err, "WRONGTYPE"))
	// Output:
	// true
	// true
	// false
	// true
}

func ExampleClient_Multi() {
	addr, stop := startGrid()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, []string{addr}, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	tx := c.Multi() // keys with one {tag} are in one slot
	tx.Do("DECRBY", "{account}:1", "5")
	tx.Do("INCRBY", "{account}:2", "5")
	results, err := tx.Exec(ctx)
	if err != nil {
		log.Fatal(err)
	}
	from, _ := results[0].Int()
	to, _ := results[1].Int()
	fmt.Println(from, to)
	// Output: -5 5
}

func ExampleClient_Watch() {
	addr, stop := startGrid()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, []string{addr}, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	double := func(s *client.Session) error {
		r, err := s.Do(ctx, "GET", "n")
		if err != nil {
			return err
		}
		n, err := r.Int()
		if err != nil {
			return err
		}
		tx := s.Multi()
		tx.Do("SET", "n", fmt.Sprint(2*n))
		_, err = tx.Exec(ctx)
		return err
	}
	c.Set(ctx, "n", "21", 0)
	for {
		err = c.Watch(ctx, []string{"n"}, double)
		if !errors.Is(err, client.ErrAborted) { // another client has changed n: again
			break
		}
	}
	n, _ := c.Get(ctx, "n")
	fmt.Println(n, err)
	// Output: 42 <nil>
}

func ExampleClient_GetOrLoad() {
	addr, stop := startGrid()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, []string{addr}, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	load := func(context.Context) (string, error) {
		fmt.Println("reading the database")
		return "Ada", nil
	}
	for range 2 {
		name, err := c.GetOrLoad(ctx, "user:7", time.Minute, load)
		fmt.Println(name, err)
	}
	// Output:
	// reading the database
	// Ada <nil>
	// Ada <nil>
}

func ExampleNearCache() {
	addr, stop := startGrid()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, []string{addr}, client.Options{
		NearCache: &client.NearCache{Prefixes: []string{"page:"}, MemoryMax: 64 << 20, Staleness: time.Second},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	c.Set(ctx, "page:1", "<html>", 0)
	for range 1000 {
		c.Get(ctx, "page:1") // the first one asks the grid
	}
	stats, _ := c.NearStats()
	fmt.Println(stats.Hits > 900)

	c.Set(ctx, "page:1", "<body>", 0) // its own writes are read at once
	page, err := c.Get(ctx, "page:1")
	fmt.Println(page, err)
	// Output:
	// true
	// <body> <nil>
}

// Programs that keep their data in a database, and copies of it in the grid: of all that miss one loads, and who changes the database
// deletes the copy.
func ExampleClient_GetOrLoad_grid() {
	addr, stop := startGrid()
	defer stop()
	ctx := context.Background()
	var database sync.Map
	database.Store("user:7", "Ada")
	var loads atomic.Int32
	load := func(context.Context) (string, error) {
		loads.Add(1)
		name, _ := database.Load("user:7")
		return name.(string), nil
	}

	var programs []*client.Client
	for range 3 {
		c, err := client.Connect(ctx, []string{addr}, client.Options{LoadTime: 5 * time.Second})
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		programs = append(programs, c)
	}
	var wg sync.WaitGroup
	for _, c := range programs {
		wg.Go(func() {
			if _, err := c.GetOrLoad(ctx, "user:7", time.Hour, load); err != nil {
				log.Fatal(err)
			}
		})
	}
	wg.Wait()
	fmt.Println(loads.Load(), "load")

	database.Store("user:7", "Grace")
	if _, err := programs[0].Del(ctx, "user:7"); err != nil {
		log.Fatal(err)
	}
	name, err := programs[1].GetOrLoad(ctx, "user:7", time.Hour, load)
	fmt.Println(name, err)
	// Output:
	// 1 load
	// Grace <nil>
}
