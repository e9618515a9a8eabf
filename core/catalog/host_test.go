package catalog

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"github.com/keyrotor/keyrotor/core/provider"
)

// beHost starts a plugin, says its process id and waits to be killed.
func beHost(dir string) {
	in, c, err := killedHost(dir)
	if err == nil {
		_, err = in.Check(context.Background(), provider.CheckRequest{})
	}
	if err != nil {
		panic(err)
	}
	pid, _ := c.PID("prod")
	fmt.Println("plugin", pid)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // never comes
	os.Exit(1)
}

func killedHost(dir string) (*Instance, *Catalog, error) {
	lock, err := ReadLock(lockIn(dir))
	if err != nil {
		return nil, nil, err
	}
	c, err := New(Config{PluginDir: dir, Lock: lock})
	if err != nil {
		return nil, nil, err
	}
	if err := c.Add("prod", "faulty", provider.Body{Attributes: map[string]any{"journal": dir, "fault": "quiet"}}); err != nil {
		return nil, nil, err
	}
	in, err := c.Provider("prod")
	return in, c, err
}
