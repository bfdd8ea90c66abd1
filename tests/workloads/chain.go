// Chains of functions in Go, at whose ends CPU time is burned: chain-go MS, in the main goroutine and in
// another.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

//go:noinline
func spin(ms int) int {
	began := time.Now()
	sum := 0
	for time.Since(began) < time.Duration(ms)*time.Millisecond {
		for i := 0; i < 100000; i++ {
			sum += i
		}
	}
	return sum
}

type shape struct{ ms int }

//go:noinline
func (shape *shape) large() int {
	var local [70000]byte
	local[shape.ms%70000] = 1
	return spin(shape.ms) + int(local[0])
}

//go:noinline
func goroutine(ms int, done chan int) {
	done <- (&shape{ms}).large()
}

func main() {
	ms, err := strconv.Atoi(os.Args[1])
	if err != nil {
		os.Exit(98)
	}
	done := make(chan int)
	sum := (&shape{ms}).large()
	go goroutine(ms, done)
	sum += <-done
	fmt.Printf("chain pid=%d\n", os.Getpid())
	if sum == 42 {
		os.Exit(1)
	}
}
