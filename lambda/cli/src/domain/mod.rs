//! The control plane of Amazon OpenSearch Service: where a domain is, and how it is.

pub mod policy;

use aws_sdk_opensearch::Client;
use aws_sdk_opensearch::config::Builder;
use aws_sdk_opensearch::config::retry::RetryConfig;
use aws_sdk_opensearch::config::timeout::TimeoutConfig;
use aws_sdk_opensearch::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_opensearch::types::{DomainProcessingStatusType, DomainStatus};
use aws_types::SdkConfig;
use gateway::aws;
use gateway::config::Settings;
use std::time::Duration;

/// The setting that a domain's endpoint stands for.
pub const ENDPOINT: &str = "OPENSEARCH_DOMAIN_ENDPOINT";

/// The environment.
pub type Vars = Vec<(String, String)>;

/// How long an answer of the service may take, retries included.
const LIMIT: Duration = Duration::from_secs(10);

/// Domains that are named where one is not found.
const NAMED: usize = 10;

/// A domain as the service describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `https://…`, once it has one.
    pub endpoint: Option<String>,
    /// Reached from within a VPC only.
    pub in_vpc: bool,
    /// Such as `OpenSearch_2.19`.
    pub engine: String,
    /// What is being done to it, in a word; None where it is ready.
    pub busy: Option<String>,
    /// It is being removed.
    pub leaving: bool,
    /// Who may call it: a JSON document, where there is one.
    pub policy: Option<String>,
    /// Fine-grained access control is on.
    pub fine_grained: bool,
    /// HTTP is refused.
    pub https_only: bool,
    /// Its disks are encrypted.
    pub encrypted: bool,
    /// What its nodes say to each other is.
    pub encrypted_between: bool,
}

impl Domain {
    /// Asks for a domain in the configuration's account and Region.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub async fn describe(config: &SdkConfig, name: &str) -> Result<Domain, String> {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let limits = TimeoutConfig::builder().operation_timeout(LIMIT).build();
        let retries = RetryConfig::standard();
        let builder = Builder::from(config).retry_config(retries).timeout_config(limits);
        let client = Client::from_conf(builder.build());
        let error = match client.describe_domain().domain_name(name).send().await {
            Ok(reply) => {
                let status = reply.domain_status;
                return status
                    .map(Domain::from)
                    .ok_or_else(|| format!("Nothing is said of the domain {name}."));
            }
            Err(error) => error,
        };
        match error.code() {
            Some("ResourceNotFoundException") => {
                let others = others(&client).await;
                Err(format!(
                    "There is no OpenSearch domain {name} in {region}{others}. Check --domain, the credentials' \
                     account, and the Region (REGION_ID or AWS_REGION)."
                ))
            }
            Some("AccessDeniedException") => Err(format!(
                "The domain {name} may not be looked at: {}. Allow es:DescribeDomain.",
                refusal(&error)
            )),
            _ => Err(format!("The domain {name} could not be looked at: {}.", refusal(&error))),
        }
    }

    /// The endpoint, where requests can be sent to it.
    ///
    /// # Errors
    /// A sentence: there is none yet, or none any more.
    pub fn reachable(&self) -> Result<&str, String> {
        let name = &self.name;
        match &self.endpoint {
            _ if self.leaving => Err(format!("The domain {name} is being deleted.")),
            Some(endpoint) => Ok(endpoint),
            None => {
                Err(format!("The domain {name} has no endpoint yet: it is being made. Wait some minutes."))
            }
        }
    }
}

/// The environment with a domain's endpoint in the place of `OPENSEARCH_DOMAIN_ENDPOINT`.
///
/// # Errors
/// A sentence: the domain cannot be found or called, or the environment names another endpoint.
pub async fn named(name: &str, vars: Vars) -> Result<Vars, String> {
    let settings = Settings::from_vars(vars.iter().cloned()).map_err(|wrong| wrong.join("\n"))?;
    let config = aws::load(settings.ca_bundle.as_deref(), settings.region.as_deref()).await?;
    let domain = Domain::describe(&config, name).await?;
    let endpoint = domain.reachable()?;
    match settings.retrieval.opensearch {
        Some(set) if set.endpoint != endpoint => Err(format!(
            "{ENDPOINT} is {}, and the domain {name} is at {endpoint}. Unset it, or leave out --domain.",
            set.endpoint
        )),
        _ => Ok(with_endpoint(vars, endpoint)),
    }
}

/// The environment with this endpoint.
pub fn with_endpoint(mut vars: Vars, endpoint: &str) -> Vars {
    vars.retain(|(name, _)| name != ENDPOINT);
    vars.push((ENDPOINT.to_owned(), endpoint.to_owned()));
    vars
}

/// The names of the domains that are there, as a part of a sentence.
async fn others(client: &Client) -> String {
    let listed = client.list_domain_names().send().await.ok();
    let names = listed.and_then(|reply| reply.domain_names).unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().filter_map(|domain| domain.domain_name).collect();
    names.sort_unstable();
    match names.len() {
        0 => String::new(),
        many @ ..=NAMED => format!("; there {} {}", if many == 1 { "is" } else { "are" }, names.join(", ")),
        many => format!("; there are {} and {} more", names[..NAMED].join(", "), many - NAMED),
    }
}

fn refusal<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or_default()),
        None => DisplayErrorContext(error).to_string(),
    }
}

impl From<DomainStatus> for Domain {
    fn from(status: DomainStatus) -> Domain {
        let vpc = status.endpoints.as_ref().and_then(|endpoints| endpoints.get("vpc"));
        let https = status.domain_endpoint_options.as_ref();
        let between = status.node_to_node_encryption_options.as_ref();
        let at_rest = status.encryption_at_rest_options.as_ref();
        let fine_grained = status.advanced_security_options.as_ref();
        Domain {
            endpoint: status.endpoint.as_ref().or(vpc).map(|host| format!("https://{host}")),
            in_vpc: vpc.is_some() || status.vpc_options.as_ref().is_some_and(|vpc| vpc.vpc_id.is_some()),
            busy: busy(&status),
            leaving: status.deleted == Some(true),
            engine: status.engine_version.unwrap_or_default(),
            policy: status.access_policies.filter(|policy| !policy.trim().is_empty()),
            fine_grained: fine_grained.is_some_and(|options| options.enabled == Some(true)),
            https_only: https.is_some_and(|options| options.enforce_https == Some(true)),
            encrypted: at_rest.is_some_and(|options| options.enabled == Some(true)),
            encrypted_between: between.is_some_and(|options| options.enabled == Some(true)),
            name: status.domain_name,
            arn: status.arn,
        }
    }
}

fn busy(status: &DomainStatus) -> Option<String> {
    match &status.domain_processing_status {
        Some(DomainProcessingStatusType::Active) => None,
        Some(other) => Some(other.as_str().to_lowercase()),
        None if status.upgrade_processing == Some(true) => Some("upgrading".to_owned()),
        None if status.processing == Some(true) => Some("processing a change".to_owned()),
        None => None,
    }
}
