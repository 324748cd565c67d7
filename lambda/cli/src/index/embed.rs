//! Texts become vectors: in batches, several at once, with patience.

use gateway::chat::{Purpose, Vectors};
use gateway::error::{Error, Kind};
use gateway::retrieval::Embed;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first wait before another try, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Texts that a model may refuse before it has taken one: a model that refuses more refuses all.
const REFUSED: usize = 16;

/// The way to a model.
pub struct Embedding {
    embed: Embed,
    /// How long it may fail before it is given up.
    patience: Duration,
    /// It has embedded something: what fails now may pass.
    heard: AtomicBool,
    /// Texts that it has refused.
    refused: AtomicUsize,
}

/// A text's vector, or why it has none.
pub type One = Result<Vec<f32>, String>;

impl Embedding {
    /// A model that is asked by this.
    pub fn new(embed: Embed, patience: Duration) -> Embedding {
        Embedding { embed, patience, heard: AtomicBool::default(), refused: AtomicUsize::default() }
    }

    /// The texts' vectors, in their order, and the tokens that they took. A batch that is refused is asked
    /// for in halves, until it is known which text is at fault.
    ///
    /// # Errors
    /// A sentence: the model cannot be reached, takes nothing for too long, or refuses whatever it is given.
    pub async fn vectors(&self, texts: Vec<String>) -> Result<(Vec<One>, u64), String> {
        let (mut vectors, mut tokens) = (Vec::new(), 0);
        let mut open = vec![texts];
        while let Some(mut texts) = open.pop() {
            let count = texts.len();
            match self.patiently(&texts).await? {
                Ok(some) => {
                    tokens += some.input_tokens;
                    vectors.extend(some.vectors.into_iter().map(directed));
                }
                Err(error) if count == 1 => {
                    let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                    if refused >= REFUSED && !self.heard.load(Ordering::Relaxed) {
                        let said = error.message;
                        return Err(format!(
                            "The embeddings model refused the first {REFUSED} texts: {said}"
                        ));
                    }
                    vectors.push(Err(error.message));
                }
                Err(_) => {
                    let second = texts.split_off(count / 2);
                    open.push(second);
                    open.push(texts);
                }
            }
        }
        Ok((vectors, tokens))
    }

    /// The vectors, or what the model has against the texts.
    async fn patiently(&self, texts: &[String]) -> Result<Result<Vectors, Error>, String> {
        let (until, mut pause) = (Instant::now() + self.patience, FIRST_PAUSE);
        loop {
            // On a thread of its own: the local model works, and others' answers are long.
            let asked = tokio::spawn((self.embed)(texts.to_vec(), Purpose::Document));
            let error = match asked.await.map_err(|_| "The embeddings model failed.".to_owned())? {
                Ok(vectors) => {
                    self.heard.store(true, Ordering::Relaxed);
                    return Ok(Ok(vectors));
                }
                Err(error) => error,
            };
            let may_pass = match error.kind {
                Kind::InvalidRequest | Kind::TooLarge => return Ok(Err(error)),
                Kind::Throttled => true,
                Kind::Unavailable | Kind::UpstreamError | Kind::DeadlineExceeded => {
                    self.heard.load(Ordering::Relaxed)
                }
                _ => false,
            };
            let wait = pause.max(error.retry_after.unwrap_or_default());
            if !may_pass || Instant::now() + wait > until {
                let why = error.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                return Err(format!("The embeddings model: {}{why}", error.message));
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A vector that can be searched for.
fn directed(vector: Vec<f32>) -> One {
    let length: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    match length.is_finite() && length > 0.0 {
        true => Ok(vector),
        false => Err("The embeddings model gave it a vector without a direction.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A model that answers by a function over the texts, counting its calls.
    fn model(
        answer: impl Fn(usize, &[String]) -> Result<Vectors, Error> + Send + Sync + 'static,
    ) -> (Embedding, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let embed: Embed = Arc::new(move |texts, purpose| {
            assert_eq!(purpose, Purpose::Document);
            let answer = answer(counted.fetch_add(1, Ordering::Relaxed), &texts);
            Box::pin(async move { answer })
        });
        (Embedding::new(embed, Duration::from_secs(60)), calls)
    }

    fn lengths(texts: &[String]) -> Vectors {
        let vectors = texts.iter().map(|text| vec![text.len() as f32]).collect();
        Vectors { vectors, input_tokens: texts.len() as u64 }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_model_is_asked_again_after_the_time_it_asked_for() {
        let begun = Instant::now();
        let (embedding, calls) = model(|call, texts| match call {
            0 | 1 => Err(Error::new(Kind::Throttled, "slow").after(Some(Duration::from_secs(3)))),
            _ => Ok(lengths(texts)),
        });
        assert_eq!(embedding.vectors(texts(&["a"])).await.unwrap(), (vec![Ok(vec![1.0])], 1));
        assert_eq!((calls.load(Ordering::Relaxed), begun.elapsed().as_secs()), (3, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_has_an_end_and_a_model_that_was_never_heard_gets_none() {
        let begun = Instant::now();
        let (embedding, _) = model(|_, _| Err(Error::new(Kind::Throttled, "slow")));
        assert!(embedding.vectors(texts(&["a"])).await.unwrap_err().contains("slow"));
        assert!((30..=60).contains(&begun.elapsed().as_secs()));
        let (embedding, calls) = model(|_, _| Err(Error::new(Kind::Unavailable, "no access")));
        assert!(embedding.vectors(texts(&["a"])).await.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn of_a_batch_that_is_refused_only_the_text_at_fault_has_no_vector() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let asked = seen.clone();
        let (embedding, _) = model(move |_, texts| {
            asked.lock().unwrap().push(texts.len());
            match texts.iter().any(|text| text == "bad") {
                true => Err(Error::new(Kind::TooLarge, "too long")),
                false => Ok(lengths(texts)),
            }
        });
        let (vectors, tokens) = embedding.vectors(texts(&["a", "bb", "bad", "dddd", "e"])).await.unwrap();
        let expected =
            [Ok(vec![1.0]), Ok(vec![2.0]), Err("too long".to_owned()), Ok(vec![4.0]), Ok(vec![1.0])];
        assert_eq!((vectors.as_slice(), tokens), (&expected[..], 4));
        assert_eq!(seen.lock().unwrap().as_slice(), [5, 2, 3, 1, 2]);
    }

    #[tokio::test]
    async fn a_model_that_refuses_whatever_it_is_given_is_given_up() {
        let (embedding, calls) = model(|_, _| Err(Error::new(Kind::InvalidRequest, "no such parameter")));
        let some: Vec<String> = (0..REFUSED - 1).map(|number| number.to_string()).collect();
        assert!(embedding.vectors(some).await.unwrap().0.iter().all(Result::is_err));
        let why = embedding.vectors(texts(&["a", "b", "c"])).await.unwrap_err();
        assert!(why.contains("first 16 texts: no such parameter"));
        assert!(calls.load(Ordering::Relaxed) < 3 * REFUSED);
    }

    #[tokio::test]
    async fn a_vector_without_a_direction_is_none() {
        let (embedding, _) =
            model(|_, _| Ok(Vectors { vectors: vec![vec![0.0, 0.0], vec![f32::NAN]], input_tokens: 0 }));
        let (vectors, _) = embedding.vectors(texts(&["a", "b"])).await.unwrap();
        assert!(vectors.iter().all(Result::is_err));
    }
}
