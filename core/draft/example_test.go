package draft_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/draft"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	place := filepath.Join(dir, "answer")
	for _, text := range []string{"42", "43"} {
		d, err := draft.New(place)
		if err != nil {
			panic(err)
		}
		err = d.Write(func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err == nil {
			err = d.Publish()
		}
		fmt.Println(text, errors.Is(err, fs.ErrExist))
		if err := d.Discard(); err != nil {
			panic(err)
		}
	}
	answer, err := os.ReadFile(place)
	fmt.Printf("%s %v\n", answer, err)
	// Output:
	// 42 false
	// 43 true
	// 42 <nil>
}
