// The API's documentation: Swagger UI for openapi.json, light or dark like the system.

const dark = matchMedia("(prefers-color-scheme: dark)");

function follow() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

dark.addEventListener("change", follow);
follow();

const description = await (await fetch("openapi.json")).json();

window.SwaggerUIBundle({
  // A proxy may serve all of this below a path of its own.
  spec: { ...description, servers: [{ url: new URL(".", location.href).href }] },
  dom_id: "#docs",
  deepLinking: true,
  // The default validator is on another host.
  validatorUrl: null,
});
