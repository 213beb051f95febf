// Command pulumi-resource-kubernetes is Pulumi's Kubernetes plugin. It reads its schema from the folder of the program.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

func main() {
	program, err := os.Executable()
	if err != nil {
		fail(err)
	}
	var files [2][]byte
	for i, name := range []string{"schema.json", "terraform-mapping.json"} {
		if files[i], err = os.ReadFile(filepath.Join(filepath.Dir(program), name)); err != nil {
			fail(err)
		}
	}
	provider.Serve("kubernetes", version.Version, files[0], files[1])
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
