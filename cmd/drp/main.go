// Command drp brings a hosting platform back after it loses a server, a datacenter, its data or its own coordinator.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(execute(context.Background(), os.Args[1:])) }
