"""Programs that print every event, ready to run with the variables that `connect` prints, in four languages.

A line with NATS_CA is for TLS only.
"""

NATS_JS = """\
// npm install nats; node subscriber.js
const { connect } = require("nats");

async function main() {
  const isDurable = process.env.NATS_USER === "consumer";
  // nats.js takes no user and password from a URL. By default it gives up after 10 attempts to reconnect, and notices
  // a dead connection after 4 minutes.
  const nc = await connect({
    servers: process.env.NATS_URL.split(","),
    user: process.env.NATS_USER,
    pass: process.env.NATS_PASSWORD,
    tls: { caFile: process.env.NATS_CA },
    maxReconnectAttempts: -1,
    pingInterval: 10_000,
  });
  const messages = isDurable
    ? await (await nc.jetstream({ apiPrefix: "STORE.API" }).consumers.get("CRYPTO", "consumer")).consume()
    : nc.subscribe("crypto.updates");
  for await (const message of messages) {
    console.log(message.string());
    if (isDurable) message.ack();
  }
}

main();
"""

NEST_JS = """\
// main.ts, for the user subscriber; npm install @nats-io/transport-node (up to NestJS 11: nats)
import "reflect-metadata";
import { Controller, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { EventPattern, MicroserviceOptions, Payload, Transport } from "@nestjs/microservices";

@Controller()
class Updates {
  @EventPattern("crypto.updates")
  update(@Payload() event: unknown) {
    console.log(JSON.stringify(event));
  }
}

function read(message: any): unknown {
  const text = new TextDecoder().decode(message.data ?? message);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

@Module({ controllers: [Updates] })
class AppModule {}

async function main() {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, {
    transport: Transport.NATS,
    options: {
      servers: process.env.NATS_URL!.split(","),
      user: process.env.NATS_USER,
      pass: process.env.NATS_PASSWORD,
      tls: { caFile: process.env.NATS_CA },
      maxReconnectAttempts: -1,
      pingInterval: 10_000,
      // NestJS's own takes an event with the key `data` for a message of NestJS, and hands over only that key.
      deserializer: { deserialize: (message, options) => ({ pattern: options!.channel, data: read(message) }) },
    },
  });
  await app.listen();
}

main();
"""

GO = """\
// go get github.com/nats-io/nats.go; in main.go
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	nc, err := nats.Connect(os.Getenv("NATS_URL"),
		nats.UserInfo(os.Getenv("NATS_USER"), os.Getenv("NATS_PASSWORD")),
		nats.RootCAs(os.Getenv("NATS_CA")),
		nats.MaxReconnects(-1),
		nats.PingInterval(10*time.Second))
	if err == nil && os.Getenv("NATS_USER") == "consumer" {
		err = consume(nc)
	} else if err == nil {
		_, err = nc.Subscribe("crypto.updates", func(message *nats.Msg) { fmt.Println(string(message.Data)) })
	}
	if err != nil {
		log.Fatal(err)
	}
	select {}
}

func consume(nc *nats.Conn) error {
	js, err := jetstream.NewWithAPIPrefix(nc, "STORE.API")
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(context.Background(), "CRYPTO", "consumer")
	if err != nil {
		return err
	}
	_, err = consumer.Consume(func(message jetstream.Msg) {
		fmt.Println(string(message.Data()))
		message.Ack()
	})
	return err
}
"""

PYTHON = """\
# pip install nats-py; python subscriber.py
import asyncio
import os
import ssl  # for NATS_CA

import nats


async def main() -> None:
    nc = await nats.connect(
        os.environ["NATS_URL"].split(","),
        user=os.environ.get("NATS_USER"),
        password=os.environ.get("NATS_PASSWORD"),
        tls=ssl.create_default_context(cafile=os.environ["NATS_CA"]),
        max_reconnect_attempts=-1,
        ping_interval=10,
    )
    if os.environ.get("NATS_USER") == "consumer":
        await consume(await nc.jetstream(prefix="STORE.API").pull_subscribe_bind("consumer", "CRYPTO"))
    async for message in (await nc.subscribe("crypto.updates")).messages:
        print(message.data.decode(), flush=True)


async def consume(events) -> None:
    while True:
        try:
            messages = await events.fetch(10, timeout=30)
        except nats.errors.Error:
            await asyncio.sleep(1)  # no event within 30 seconds, or no connection
            continue
        for message in messages:
            print(message.data.decode(), flush=True)
            await message.ack()


asyncio.run(main())
"""

PROGRAMS = {"nats.js": NATS_JS, "NestJS": NEST_JS, "Go": GO, "Python": PYTHON}


def program(language: str, *, tls: bool) -> str:
    lines = PROGRAMS[language].splitlines(keepends=True)
    return "".join(line for line in lines if tls or "NATS_CA" not in line)
