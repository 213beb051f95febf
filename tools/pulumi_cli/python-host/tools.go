//go:build tools

// This file pins Pulumi's Python language host as an ordinary Go tool dependency.
package main

import _ "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
