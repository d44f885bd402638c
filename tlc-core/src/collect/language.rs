//! Sample metrics of a language model, from what it thought of each token.

use arrow::array::{Float32Builder, Int32Builder, ListBuilder, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};

use super::columns::{Lists, count, metric, narrow, record, same_length, share};
use super::epoch::{Perplexity, Spread};
use super::softmax::Softmax;
use super::{Aggregate, Collector};
use crate::error::{Error, Result};

/// How well a model foresaw the tokens of each sample.
///
/// Needs the column `target`: a list of token ids of any integer type for each sample, and
/// - [`Self::of_logits`]: `logits`, for each of the targets the scores of the whole vocabulary before
///   softmax, laid end to end or as lists of one length in a list (`Float32`);
/// - [`Self::of_log_probs`]: `log_probs`, for each of the targets the natural logarithm of the
///   probability that the model gave it (any float).
///
/// The position of a target is that of what the model said about *it*: a causal model's targets are
/// its input, shifted by one. Targets that are null or the id to ignore (-100 if not set) do not
/// count. With `p` the probability of a target, it makes these columns:
///
/// | column | type | value |
/// |---|---|---|
/// | `loss` | Float32 | the mean of `-ln p` over the tokens that count, in nats |
/// | `perplexity` | Float32 | `exp(loss)` (Jelinek et al. 1977) |
/// | `n_tokens` | Int32 | how many count |
/// | `accuracy` | Float32 | the part of them that had the largest logit, the lowest id among equals; of logits only |
/// | `token_loss` | `List<Float32>` | `-ln p` of each target, null for those that do not count; with [`Self::with_token_loss`] |
///
/// The perplexity of an epoch is not a mean of these: it is `exp(Σ loss · n_tokens / Σ n_tokens)`.
///
/// A sample without targets has nulls; one whose targets all do not count has 0 `n_tokens` and
/// nulls. A token whose softmax does not exist (a NaN or +∞ among its logits, or nothing but -∞)
/// has a loss of NaN and is not foreseen. A probability of 0 is an infinite loss.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a column is missing or of another
/// type, there are not as many values as targets, or a target is not in the vocabulary; the message
/// names the column or the sample's position.
///
/// ```
/// use tlc_core::collect::Language;
///
/// let collector = Language::of_logits().ignoring(0).with_token_loss();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Language {
    has_logits: bool,
    ignored: i64,
    token_loss: bool,
}

impl Language {
    /// From the scores of the whole vocabulary.
    #[must_use]
    pub fn of_logits() -> Self {
        Self {
            has_logits: true,
            ignored: -100,
            token_loss: false,
        }
    }

    /// From the log-probabilities of the targets alone.
    #[must_use]
    pub fn of_log_probs() -> Self {
        Self {
            has_logits: false,
            ..Self::of_logits()
        }
    }

    /// Does not count targets of this id, such as that of padding, in place of -100.
    #[must_use]
    pub fn ignoring(mut self, id: i64) -> Self {
        self.ignored = id;
        self
    }

    /// Adds the loss of each token: 4 bytes for each.
    #[must_use]
    pub fn with_token_loss(mut self) -> Self {
        self.token_loss = true;
        self
    }

    /// What the model thought of the targets of one sample: `None` if it has none, and for those
    /// that do not count.
    fn tokens(
        self,
        said: &Said,
        targets: &Lists<Int64Type>,
        sample: usize,
    ) -> Result<Option<Vec<Option<Token>>>> {
        let of = said.of(sample)?;
        let Some(target) = targets.get(sample) else {
            return Ok(None);
        };
        of.check(sample, target.len())?;
        let tokens = target.iter().enumerate().map(|(position, id)| {
            if *id == self.ignored || targets.is_null(sample, position) {
                return Ok(None);
            }
            match of.token(position, *id, target.len()) {
                Some(token) => Ok(Some(token)),
                None => Err(Error::invalid(format!(
                    "target {position} of sample {sample} of the batch is {id}, which is not in the \
                     vocabulary of the logits"
                ))),
            }
        });
        tokens.collect::<Result<_>>().map(Some)
    }
}

impl Collector for Language {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let said = Said::read(outputs, self.has_logits)?;
        let targets = Lists::read(outputs, "target", DataType::is_integer, "token ids")?;
        let mut columns = Columns::default();
        for sample in 0..outputs.num_rows() {
            columns.push(self.tokens(&said, &targets, sample)?.as_deref());
        }
        columns.finish(*self)
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        match self.has_logits {
            true => &[("loss", "loss"), ("accuracy", "accuracy")],
            false => &[("loss", "loss")],
        }
    }

    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        vec![Spread::of("loss"), Box::<Perplexity>::default()]
    }
}

/// What a model thought of one token.
#[derive(Clone, Copy)]
struct Token {
    loss: f64,
    is_foreseen: bool,
}

/// The column of what the model said.
enum Said {
    Logits(Lists<Float32Type>),
    LogProbs(Lists<Float64Type>),
}

impl Said {
    fn read(outputs: &RecordBatch, has_logits: bool) -> Result<Self> {
        match has_logits {
            true => {
                let fits = |data_type: &DataType| *data_type == DataType::Float32;
                Lists::read(outputs, "logits", fits, "Float32").map(Self::Logits)
            }
            false => Lists::read(outputs, "log_probs", DataType::is_floating, "floats")
                .map(Self::LogProbs),
        }
    }

    fn of(&self, sample: usize) -> Result<SaidOf<'_>> {
        Ok(match self {
            Self::Logits(logits) => SaidOf::Logits(logits.required(sample)?),
            Self::LogProbs(log_probs) => SaidOf::LogProbs(log_probs.required(sample)?),
        })
    }
}

/// What it said of one sample.
enum SaidOf<'a> {
    Logits(&'a [f32]),
    LogProbs(&'a [f64]),
}

impl SaidOf<'_> {
    /// That it is about so many targets.
    fn check(&self, sample: usize, n_targets: usize) -> Result<()> {
        match self {
            Self::LogProbs(log_probs) => same_length(sample, log_probs.len(), n_targets),
            Self::Logits(logits)
                if logits.len().checked_rem(n_targets).unwrap_or(logits.len()) == 0 =>
            {
                Ok(())
            }
            Self::Logits(logits) => Err(Error::invalid(format!(
                "sample {sample} of the batch has {} logits, which cannot be those of {n_targets} targets",
                logits.len()
            ))),
        }
    }

    /// `None` if the id is not in the vocabulary.
    fn token(&self, position: usize, id: i64, n_targets: usize) -> Option<Token> {
        let logits = match self {
            Self::LogProbs(log_probs) => {
                return Some(Token {
                    loss: 0.0 - *log_probs.get(position)?,
                    is_foreseen: false,
                });
            }
            Self::Logits(logits) => logits,
        };
        let n_each = logits.len().checked_div(n_targets)?;
        let scores = logits.get(position * n_each..(position + 1) * n_each)?;
        let id = usize::try_from(id).ok()?;
        let own = *scores.get(id)?;
        Some(match Softmax::new(scores) {
            Some(softmax) => Token {
                loss: softmax.surprise(own),
                is_foreseen: softmax.top() == id,
            },
            None => Token {
                loss: f64::NAN,
                is_foreseen: false,
            },
        })
    }
}

#[derive(Default)]
struct Columns {
    loss: Float32Builder,
    perplexity: Float32Builder,
    n_tokens: Int32Builder,
    accuracy: Float32Builder,
    token_loss: ListBuilder<Float32Builder>,
}

impl Columns {
    fn push(&mut self, tokens: Option<&[Option<Token>]>) {
        let counted = || tokens.into_iter().flatten().flatten();
        let n = counted().count();
        let n_foreseen = counted().filter(|token| token.is_foreseen).count();
        let sum: f64 = counted().map(|token| token.loss).sum();
        let loss = (n > 0).then(|| sum / f64::from(count(n)));
        self.loss.append_option(loss.map(narrow));
        self.perplexity
            .append_option(loss.map(|loss| narrow(loss.exp())));
        self.n_tokens
            .append_option(tokens.is_some().then(|| count(n)));
        self.accuracy
            .append_option((n > 0).then(|| narrow(share(n_foreseen as u64, n as u64))));
        for token in tokens.into_iter().flatten() {
            let loss = token.map(|token| narrow(token.loss));
            self.token_loss.values().append_option(loss);
        }
        self.token_loss.append(tokens.is_some());
    }

    fn finish(mut self, language: Language) -> Result<RecordBatch> {
        let mut columns = vec![
            metric("loss", self.loss.finish()),
            metric("perplexity", self.perplexity.finish()),
            metric("n_tokens", self.n_tokens.finish()),
        ];
        if language.has_logits {
            columns.push(metric("accuracy", self.accuracy.finish()));
        }
        if language.token_loss {
            columns.push(metric("token_loss", self.token_loss.finish()));
        }
        record(columns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cases::{check, list, lists_of, outputs, refused};
    use super::*;

    fn logits(lines: &str) -> RecordBatch {
        let fields = [
            list("logits", DataType::Float32),
            list("target", DataType::UInt32),
        ];
        outputs(&fields, lines)
    }

    #[test]
    fn the_values_of_logits_are_those_of_the_definitions() {
        // For [0, 0] both losses are ln 2 = 0.6931; for [2, 0] they are 0.1269 and 2.1269.
        let batch = logits(
            r#"{"logits":[0,0, 2,0, 2,0],"target":[1,0,1]}
               {"logits":[0,0, 2,0, 2,0],"target":[7,0,null]}
               {"logits":[2,0],"target":[1]}
               {"logits":[2,0],"target":[7]}
               {"logits":[2,0]}
               {"logits":[],"target":[]}"#,
        );
        check(
            &Language::of_logits().ignoring(7).with_token_loss(),
            &batch,
            &[
                "loss=0.9823 perplexity=2.6707 n_tokens=3 accuracy=0.3333 token_loss=[0.6931 0.1269 2.1269]",
                "loss=0.1269 perplexity=1.1353 n_tokens=1 accuracy=1.0000 token_loss=[- 0.1269 -]",
                "loss=2.1269 perplexity=8.3891 n_tokens=1 accuracy=0.0000 token_loss=[2.1269]",
                "loss=- perplexity=- n_tokens=0 accuracy=- token_loss=[-]",
                "loss=- perplexity=- n_tokens=- accuracy=- token_loss=-",
                "loss=- perplexity=- n_tokens=0 accuracy=- token_loss=[]",
            ],
        );
    }

    #[test]
    fn extreme_logits_have_defined_results() {
        let batch = logits(
            r#"{"logits":[10000,0, 0,10000],"target":[0,0]}
               {"logits":["-inf",0],"target":[1]}
               {"logits":["-inf",0],"target":[0]}
               {"logits":["NaN",0, 1,0],"target":[1,0]}
               {"logits":["inf",0],"target":[0]}"#,
        );
        check(
            &Language::of_logits(),
            &batch,
            &[
                "loss=5000.0000 perplexity=inf n_tokens=2 accuracy=0.5000",
                "loss=0.0000 perplexity=1.0000 n_tokens=1 accuracy=1.0000",
                "loss=inf perplexity=inf n_tokens=1 accuracy=0.0000",
                "loss=NaN perplexity=NaN n_tokens=2 accuracy=0.5000",
                "loss=NaN perplexity=NaN n_tokens=1 accuracy=0.0000",
            ],
        );
    }

    #[test]
    fn logits_may_be_lists_in_lists() {
        let pair = lists_of("item", DataType::Float32, 2);
        let fields = [
            list("logits", pair.data_type().clone()),
            list("target", DataType::Int64),
        ];
        let lines = r#"{"logits":[[0,0]],"target":[1]}
                       {"logits":[[2,0],[2,0]],"target":[-100,0]}"#;
        check(
            &Language::of_logits(),
            &outputs(&fields, lines),
            &[
                "loss=0.6931 perplexity=2.0000 n_tokens=1 accuracy=0.0000",
                "loss=0.1269 perplexity=1.1353 n_tokens=1 accuracy=1.0000",
            ],
        );
    }

    #[test]
    fn log_probs_need_no_vocabulary() {
        let fields = [
            list("log_probs", DataType::Float64),
            lists_of("target", DataType::Int64, 2),
        ];
        let lines = r#"{"log_probs":[-1,-2],"target":[50000,3]}
                       {"log_probs":[-1,0],"target":[-100,3]}
                       {"log_probs":["-inf","NaN"],"target":[1,-100]}
                       {"log_probs":[-1,-2]}"#;
        let collector = Language::of_log_probs().with_token_loss();
        check(
            &collector,
            &outputs(&fields, lines),
            &[
                "loss=1.5000 perplexity=4.4817 n_tokens=2 token_loss=[1.0000 2.0000]",
                "loss=0.0000 perplexity=1.0000 n_tokens=1 token_loss=[- 0.0000]",
                "loss=inf perplexity=inf n_tokens=1 token_loss=[inf -]",
                "loss=- perplexity=- n_tokens=- token_loss=-",
            ],
        );
        assert_eq!(collector.scalars(), [("loss", "loss")]);
        let short = outputs(&fields, r#"{"log_probs":[-1],"target":[1,2]}"#);
        refused(
            &collector,
            &short,
            "sample 0 of the batch has 1 predicted values, but 2 targets",
        );
    }

    #[test]
    fn bad_outputs_are_named() {
        let one = r#"{"logits":[0,0],"target":[1]}"#;
        for (second, expected) in [
            (
                r#"{"logits":[0,0,0],"target":[1,0]}"#,
                "sample 1 of the batch has 3 logits, which cannot be those of 2",
            ),
            (
                r#"{"logits":[0,0],"target":[]}"#,
                "sample 1 of the batch has 2 logits, which cannot be those of 0",
            ),
            (
                r#"{"logits":[],"target":[0]}"#,
                "target 0 of sample 1 of the batch is 0",
            ),
            (
                r#"{"logits":[0,0],"target":[2]}"#,
                "target 0 of sample 1 of the batch is 2, which is not in the vocabulary",
            ),
            (
                r#"{"logits":[0,null],"target":[1]}"#,
                "\"logits\" has no value at 1 in the list of sample 1",
            ),
            (r#"{"target":[1]}"#, "\"logits\" has no values for sample 1"),
        ] {
            refused(
                &Language::of_logits(),
                &logits(&format!("{one}\n{second}")),
                expected,
            );
        }
        refused(
            &Language::of_log_probs(),
            &logits(one),
            "no column \"log_probs\"",
        );
    }

    proptest! {
        #[test]
        fn the_loss_of_logits_is_that_of_their_log_probs(
            tokens in prop::collection::vec((prop::array::uniform3(-9.0_f32..9.0), 0_usize..3), 1..9),
        ) {
            let said: Vec<f32> = tokens.iter().flat_map(|(logits, _)| *logits).collect();
            let targets: Vec<usize> = tokens.iter().map(|(_, id)| *id).collect();
            let mut columns = Columns::default();
            let judged = targets.iter().enumerate().map(|(position, id)| {
                let id = i64::try_from(*id).unwrap();
                SaidOf::Logits(&said).token(position, id, targets.len())
            });
            columns.push(Some(&judged.collect::<Vec<_>>()));
            let found = columns.loss.finish().value(0);
            let mut sum = 0.0;
            for (logits, id) in &tokens {
                let powers = logits.map(|logit| f64::from(logit).exp());
                sum -= (powers[*id] / powers.iter().sum::<f64>()).ln();
            }
            let plain = sum / f64::from(u8::try_from(tokens.len()).unwrap());
            prop_assert!((f64::from(found) - plain).abs() < 1e-5, "{} {}", found, plain);
        }
    }
}
