// Uploads FILE to ENDPOINT with tus-js-client, going on with an earlier upload that STATE remembers; prints its address.
const fs = require("fs")
const tus = require("./tus-js-client.cjs")

const [endpoint, file, state, chunk, rate] = process.argv.slice(2)
const pause = rate > 0 ? (1000 * chunk) / rate : 0

const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  chunkSize: Number(chunk),
  metadata: { filename: require("path").basename(file) },
  retryDelays: Array(120).fill(500),
  urlStorage: new tus.FileUrlStorage(state),
  removeFingerprintOnSuccess: false,
  onAfterResponse: () => new Promise((resolve) => setTimeout(resolve, pause)),
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => console.log(upload.url),
})

upload.findPreviousUploads().then((previous) => {
  if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
  upload.start()
})
