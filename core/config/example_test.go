package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/provider"
)

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keyrotor.hcl")
	err = os.WriteFile(path, []byte(`
storage "sqlite" {
  path = "keyrotor.db"
}

provider "local" "main" {
  path = "keks.json"
}

key "payments" {
  wrap_with = ["main"]
}
`), 0o600)
	if err != nil {
		panic(err)
	}

	file, err := config.Load(path)
	if err != nil {
		panic(err)
	}
	// The schema comes from the plugin.
	body, _, err := file.Providers[0].Decode(provider.Schema{
		Attributes: []provider.Attribute{{Name: "path", Type: provider.Path, Required: true}},
	})
	if err != nil {
		panic(err)
	}
	relative, err := filepath.Rel(file.Dir, body.String("path"))
	if err != nil {
		panic(err)
	}
	fmt.Println(file.Providers[0], "keeps its keys in", relative)
	fmt.Println("payments is wrapped by", file.Keys[0].WrapWith)
	// Output:
	// provider "local" "main" keeps its keys in keks.json
	// payments is wrapped by [main]
}

func ExampleFile_Key() {
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keyrotor.hcl")
	err = os.WriteFile(path, []byte(`
storage "sqlite" {
  path = "keyrotor.db"
}

provider "local" "main" {
}

key "payments" {
  rotation {
    any {
      max_age  = "90d"
      max_uses = 1000000
    }
    jitter = "2h"
  }
}
`), 0o600)
	if err != nil {
		panic(err)
	}

	file, err := config.Load(path)
	if err != nil {
		panic(err)
	}
	fmt.Println(file.Key("payments").Rotation.Description())
	fmt.Println(file.Key("another").Rotation)
	// Output:
	// every 90 days or every 1,000,000 uses, up to 2 hours later
	// <nil>
}

func ExampleError() {
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keyrotor.hcl")
	err = os.WriteFile(path, []byte(`
storage "sqlite" {
  pathh = "keyrotor.db"
}
`), 0o600)
	if err != nil {
		panic(err)
	}

	_, err = config.Load(path)
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		panic(err)
	}
	for _, p := range wrong.Problems {
		fmt.Println(p.Line, p.Summary)
	}
	// Output:
	// 0 no provider block
	// 2 missing attribute "path" in storage "sqlite"
	// 3 unknown attribute "pathh" in storage "sqlite"
}

func ExampleFile_Budget() {
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keyrotor.hcl")
	err = os.WriteFile(path, []byte(`
storage "sqlite" {
  path = "keyrotor.db"
}
provider "local" "main" {
}
key "payments" {
  cache {
    ttl   = "15m"
    grace = "1d"
  }
}
`), 0o600)
	if err != nil {
		panic(err)
	}
	file, err := config.Load(path)
	if err != nil {
		panic(err)
	}
	for _, key := range []string{"payments", "logs"} {
		b := file.Budget(key)
		fmt.Println(key, b.TTL, b.Grace)
	}
	// Output:
	// payments 15m0s 24h0m0s
	// logs 1h0m0s 1h0m0s
}
