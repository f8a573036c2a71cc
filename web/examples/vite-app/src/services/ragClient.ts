// A stand-in for your own search: it "finds" what shares a word with the query.

const passages = [
  'The shop is open from nine to six on weekdays.',
  'A parcel can be sent back within thirty days.',
  'Delivery takes two to four days.',
]

export const ragClient = {
  async search(query: string): Promise<{ content: string }[]> {
    const words = new Set(query.toLowerCase().match(/\w{4,}/g))
    const found = passages.filter((passage) =>
      passage
        .toLowerCase()
        .match(/\w{4,}/g)
        ?.some((word) => words.has(word)),
    )
    return found.map((content) => ({ content }))
  },
}
