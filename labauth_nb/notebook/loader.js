// The widget's module, in every cell. panel.js and panel.css come once per page.
const id = "labauth-VERSION";
const here = (globalThis[id] ??= { asked: 0 });

async function panel(model, el) {
  const hear = ({ type, js, css, reload }) => {
    if (type !== "code" || here.page) return;
    Object.assign(here, { css, reload });
    here.page = import(URL.createObjectURL(new Blob([js], { type: "text/javascript" })));
  };
  model.on("msg:custom", hear);
  for (let gap = 500; !here.page; await new Promise((go) => setTimeout(go, 50))) {
    if (Date.now() - here.asked < gap) continue;
    here.asked = Date.now();
    if ((gap *= 2) > 4000) el.textContent = "Not connected: run this cell to see the panel.";
    model.send({ type: "code" });
  }
  model.off("msg:custom", hear);
  el.textContent = "";
  return here.page;
}

async function render({ model, el }) {
  const { attach, widgetPort } = await panel(model, el);
  const root = el.getRootNode();
  const home = root instanceof ShadowRoot ? root : document.head;
  if (!home.querySelector("#" + id)) {
    const style = Object.assign(document.createElement("style"), { id, textContent: here.css });
    home.append(style);
  }
  return attach(el, widgetPort(model), here.reload);
}

export default { render };
