// The page Import: a file goes to the server as it is, with how much of it has arrived.
(() => {
  const note = (words) => {
    const place = document.querySelector("#page-import .upload-note");
    if (place) place.textContent = words;
  };
  const within = (event) => event.target.closest?.("#page-import .bring");

  document.addEventListener("change", (event) => within(event) && send(event.target.files[0]));
  document.addEventListener("dragover", (event) => within(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    const field = within(event)?.querySelector("input");
    if (!field) return;
    event.preventDefault();
    if (!field.disabled) send(event.dataTransfer.files[0]);
  });

  function send(file) {
    if (!file) return;
    const field = document.querySelector("#page-import .bring input");
    const request = new XMLHttpRequest();
    field.disabled = true;
    request.open("POST", `import/upload?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => note(`${Math.floor((100 * event.loaded) / event.total)} % of ${file.name} has arrived`);
    request.upload.onload = () => note(`looking at ${file.name} …`);
    request.onload = () => arrived(request, field);
    request.onerror = () => arrived(request, field);
    request.send(file);
  }

  function arrived(request, field) {
    let answer = {};
    try {
      answer = JSON.parse(request.responseText);
    } catch {
      answer.problem = "The app did not take the file: see that it runs, then choose it again.";
    }
    field.disabled = false;
    field.value = "";
    answer.upload ? insightv.go(`?tab=import&upload=${answer.upload}`) : note(answer.problem ?? answer.detail);
  }
})();
