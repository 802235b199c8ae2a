package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Package managers under `attache run`. Each asks a registry of the test's own for the package "left", whose
// only version is 1.0.0.

func npmUnderRun(t *testing.T) {
	npm := need(t, "npm")
	r := pathsRunner(t, npmRegistry)
	r.finds(r.run(npm, "view", "left", "version", "--registry", "https://api.test/"))
}

func yarnUnderRun(t *testing.T) {
	yarn, err := exec.LookPath("yarnpkg") // as Debian calls it
	if err != nil {
		yarn = need(t, "yarn")
	}
	r := pathsRunner(t, npmRegistry)
	r.env = append(r.env, "NODE_PATH=/usr/share/nodejs") // Debian's Yarn, where Node is not Debian's
	r.finds(r.run(yarn, "info", "left", "version", "--registry", "https://api.test/"))
}

var npmRegistry = map[string]string{
	"/left": `{"name":"left","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"left","version":"1.0.0","dist":{}}}}`,
}

func pipUnderRun(t *testing.T) {
	python := pythonWith(t, "pip")
	r := pathsRunner(t, pythonIndex(t))
	r.finds(r.run(python, "-m", "pip", "index", "versions", "--index-url", "https://api.test/simple", "left"))
}

func poetryUnderRun(t *testing.T) {
	poetry := need(t, "poetry")
	r := pathsRunner(t, pythonIndex(t))
	r.write("pyproject.toml", `[tool.poetry]
name = "shop"
version = "0.1.0"
description = ""
authors = []
[tool.poetry.dependencies]
python = "^3.8"
left = {version = "*", source = "made-up"}
[[tool.poetry.source]]
name = "made-up"
url = "https://api.test/simple"
`)
	r.run(poetry, "lock", "--no-interaction")
	r.finds(string(mustRead(t, filepath.Join(r.dir, "poetry.lock"))))
}

// pythonIndex has a wheel too: Poetry reads it.
func pythonIndex(t *testing.T) map[string]string {
	t.Helper()
	wheel := zipped(t, map[string]string{
		"left-1.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: left\nVersion: 1.0.0\n",
		"left-1.0.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: made-up\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"left-1.0.0.dist-info/RECORD":   "",
	})
	const name = "left-1.0.0-py3-none-any.whl"
	return map[string]string{
		"/simple/left/":        `<a href="` + name + `#sha256=` + fingerprint(wheel) + `">` + name + `</a>`,
		"/simple/left/" + name: wheel,
	}
}

func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(name)
		ok(t, err)
		_, err = io.WriteString(w, content)
		ok(t, err)
	}
	ok(t, z.Close())
	return b.String()
}

func cargoUnderRun(t *testing.T) {
	cargo := need(t, "cargo")
	r := pathsRunner(t, map[string]string{
		"/index/config.json": `{"dl":"https://api.test/dl","api":"https://api.test"}`,
		"/index/le/ft/left":  `{"name":"left","vers":"1.0.0","deps":[],"cksum":"` + strings.Repeat("0", 64) + `","features":{},"yanked":false}`,
	})
	r.write("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nleft = {version = \"1\", registry = \"made-up\"}\n")
	r.write("src/lib.rs", "")
	r.env = append(r.env, "CARGO_HOME="+filepath.Join(r.dir, "cargo"), "CARGO_REGISTRIES_MADE_UP_INDEX=sparse+https://api.test/index/",
		// Before 1.68 an index over HTTPS is for those who ask.
		"CARGO_UNSTABLE_SPARSE_REGISTRY=true", "RUSTC_BOOTSTRAP=1")
	for _, name := range []string{"RUSTUP_HOME", "RUSTUP_TOOLCHAIN"} {
		if v, found := os.LookupEnv(name); found {
			r.env = append(r.env, name+"="+v)
		}
	}
	if home, err := os.UserHomeDir(); err == nil && !slices.ContainsFunc(r.env, func(s string) bool { return strings.HasPrefix(s, "RUSTUP_HOME=") }) {
		r.env = append(r.env, "RUSTUP_HOME="+filepath.Join(home, ".rustup"))
	}
	r.run(cargo, "generate-lockfile")
	r.finds(string(mustRead(t, filepath.Join(r.dir, "Cargo.lock"))))
}

func composerUnderRun(t *testing.T) {
	composer := need(t, "composer")
	r := pathsRunner(t, map[string]string{
		"/packages.json": `{"packages":{"left/left":{"1.0.0":{"name":"left/left","version":"1.0.0","type":"metapackage"}}}}`,
	})
	r.write("composer.json", `{"repositories":[{"type":"composer","url":"https://api.test"},{"packagist.org":false}]}`)
	r.env = append(r.env, "COMPOSER_ALLOW_SUPERUSER=1")
	r.finds(r.run(composer, "show", "--no-interaction", "--available", "left/left"))
}

func bundlerUnderRun(t *testing.T) {
	bundle := need(t, "bundle")
	const info = "---\n1.0.0 |checksum:0000000000000000000000000000000000000000000000000000000000000000\n"
	r := pathsRunner(t, map[string]string{
		"/versions":  fmt.Sprintf("created_at: 2024-01-01T00:00:00Z\n---\nleft 1.0.0 %x\n", md5.Sum([]byte(info))),
		"/info/left": info,
	})
	r.write("Gemfile", "source 'https://api.test'\ngem 'left'\n")
	r.run(bundle, "lock")
	r.finds(string(mustRead(t, filepath.Join(r.dir, "Gemfile.lock"))))
}

// mavenUnderRun has a project whose parent is in a repository.
func mavenUnderRun(t *testing.T) {
	mvn := need(t, "mvn")
	const parent = `<project><modelVersion>4.0.0</modelVersion><groupId>left</groupId><artifactId>left</artifactId><version>1.0.0</version><packaging>pom</packaging></project>`
	r := pathsRunner(t, map[string]string{"/m2/left/left/1.0.0/left-1.0.0.pom": parent})
	r.write("settings.xml", `<settings><mirrors><mirror><id>made-up</id><mirrorOf>*</mirrorOf><url>https://api.test/m2</url></mirror></mirrors></settings>`)
	r.write("pom.xml", `<project><modelVersion>4.0.0</modelVersion><parent><groupId>left</groupId><artifactId>left</artifactId>
		<version>1.0.0</version><relativePath/></parent><artifactId>shop</artifactId><packaging>pom</packaging></project>`)
	r.run(mvn, "-B", "-q", "-s", "settings.xml", "-Dmaven.repo.local="+filepath.Join(r.dir, "m2"), "validate")
	if got := mustRead(t, filepath.Join(r.dir, "m2", "left", "left", "1.0.0", "left-1.0.0.pom")); string(got) != parent {
		t.Errorf("fetched %q", got)
	}
}

// finds holds that what was printed or written tells of the package that the registry has.
func (r *runner) finds(out string) {
	r.t.Helper()
	if !strings.Contains(out, "1.0.0") {
		r.t.Errorf("%q does not tell of left 1.0.0", out)
	}
}
