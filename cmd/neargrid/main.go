// Command neargrid runs and inspects a neargrid node.
package main

import (
	"fmt"
	"os"

	"github.com/neargrid/neargrid/server"
)

func main() {
	srv, err := server.New(server.Options{Listen: os.Args[1]})
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-srv.Done()
}
