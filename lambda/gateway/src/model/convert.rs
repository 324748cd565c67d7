//! Between our types and Converse's: pure, no I/O.

pub mod document;
pub mod embedding;
pub mod part;

use self::document::to_document;
use super::Ask;
use crate::chat::{Block, Message, Role, Sampling, Tool, ToolChoice};
use crate::error::{Error, Kind};
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamInput;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types as converse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fmt::Display;

/// The Converse request of an ask. Fails with `invalid_request` where a block cannot be sent.
pub fn request(ask: Ask) -> Result<ConverseStreamInput, Error> {
    let stored = if ask.cache_points { ask.stored_messages } else { 0 };
    let messages = messages(ask.messages, stored)?;
    if messages.is_empty() {
        return Err(Error::invalid("messages", "The prompt is empty. Send a text that is not blank."));
    }
    let top_k = ask.sampling.top_k.map(|top_k| to_document(json!({ "top_k": top_k })));
    ConverseStreamInput::builder()
        .model_id(ask.invoke_id)
        .set_messages(Some(messages))
        .set_system(
            ask.system
                .filter(|text| !is_blank(text))
                .map(|text| vec![converse::SystemContentBlock::Text(text)]),
        )
        .set_inference_config(inference(ask.sampling))
        .set_tool_config(tools(ask.tools, ask.tool_choice)?)
        .set_additional_model_request_fields(top_k)
        .set_output_config(ask.response_schema.map(|schema| output(&schema)).transpose()?)
        .build()
        .map_err(incomplete)
}

/// Converse wants user and assistant to alternate, so messages of one role in a row become one.
/// A cache point stands behind the first `stored` messages, if there are any.
fn messages(messages: Vec<Message>, stored: usize) -> Result<Vec<converse::Message>, Error> {
    let mut turns: Vec<(Role, Vec<converse::ContentBlock>)> = Vec::new();
    for (index, message) in messages.into_iter().enumerate() {
        let content = blocks(message.content)?;
        match turns.last_mut() {
            Some((role, earlier)) if *role == message.role => earlier.extend(content),
            _ if content.is_empty() => {}
            _ => turns.push((message.role, content)),
        }
        if index + 1 == stored
            && let Some((_, earlier)) = turns.last_mut()
        {
            earlier.push(cache_point()?);
        }
    }
    turns.into_iter().map(|(role, content)| turn(role, content)).collect()
}

fn turn(role: Role, content: Vec<converse::ContentBlock>) -> Result<converse::Message, Error> {
    let role = match role {
        Role::User => converse::ConversationRole::User,
        Role::Assistant => converse::ConversationRole::Assistant,
    };
    converse::Message::builder().role(role).set_content(Some(content)).build().map_err(incomplete)
}

fn cache_point() -> Result<converse::ContentBlock, Error> {
    let point = converse::CachePointBlock::builder().r#type(converse::CachePointType::Default);
    point.build().map(converse::ContentBlock::CachePoint).map_err(incomplete)
}

/// The blocks that can be sent: Bedrock refuses a request for a single blank text in it.
fn blocks(blocks: Vec<Block>) -> Result<Vec<converse::ContentBlock>, Error> {
    blocks.into_iter().filter(|block| !is_empty(block)).map(block).collect()
}

fn is_empty(block: &Block) -> bool {
    match block {
        Block::Text { text } => is_blank(text),
        Block::Reasoning { text, redacted, .. } => text.is_empty() && redacted.is_none(),
        _ => false,
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn block(block: Block) -> Result<converse::ContentBlock, Error> {
    Ok(match block {
        Block::Text { text } => converse::ContentBlock::Text(text),
        Block::Image { format, bytes } => converse::ContentBlock::Image(image(&format, &bytes)?),
        Block::ToolUse { id, name, input } => {
            // A call without arguments is often kept as null, where Converse wants an object.
            let input = if input.is_null() { json!({}) } else { input };
            let call = converse::ToolUseBlock::builder().tool_use_id(id).name(name).input(to_document(input));
            converse::ContentBlock::ToolUse(call.build().map_err(incomplete)?)
        }
        Block::ToolResult { id, content, is_error } => {
            let visible = content.into_iter().filter(|block| !is_empty(block));
            let content = visible.map(tool_result_block).collect::<Result<Vec<_>, _>>()?;
            let result = converse::ToolResultBlock::builder()
                .tool_use_id(id)
                .set_content(Some(content))
                .set_status(is_error.then_some(converse::ToolResultStatus::Error));
            converse::ContentBlock::ToolResult(result.build().map_err(incomplete)?)
        }
        Block::Reasoning { text, signature, redacted } => {
            converse::ContentBlock::ReasoningContent(reasoning(text, signature, redacted)?)
        }
    })
}

fn tool_result_block(block: Block) -> Result<converse::ToolResultContentBlock, Error> {
    match block {
        Block::Text { text } => Ok(converse::ToolResultContentBlock::Text(text)),
        Block::Image { format, bytes } => {
            Ok(converse::ToolResultContentBlock::Image(image(&format, &bytes)?))
        }
        _ => Err(Error::invalid("messages", "A tool's result may hold text and images only.")),
    }
}

fn image(format: &str, bytes: &str) -> Result<converse::ImageBlock, Error> {
    let known = converse::ImageFormat::values().contains(&format);
    if !known {
        let formats = converse::ImageFormat::values().join(", ");
        return Err(Error::invalid(
            "messages",
            format!("This image format is not known. Send one of {formats}."),
        ));
    }
    let source = converse::ImageSource::Bytes(from_base64(bytes, "image")?);
    let image = converse::ImageBlock::builder().format(converse::ImageFormat::from(format)).source(source);
    image.build().map_err(incomplete)
}

fn reasoning(
    text: String,
    signature: Option<String>,
    redacted: Option<String>,
) -> Result<converse::ReasoningContentBlock, Error> {
    if let Some(redacted) = redacted {
        return Ok(converse::ReasoningContentBlock::RedactedContent(from_base64(
            &redacted,
            "redacted reasoning",
        )?));
    }
    let block = converse::ReasoningTextBlock::builder().text(text).set_signature(signature);
    block.build().map(converse::ReasoningContentBlock::ReasoningText).map_err(incomplete)
}

fn from_base64(text: &str, what: &str) -> Result<Blob, Error> {
    let bytes = STANDARD.decode(text);
    bytes.map(Blob::new).map_err(|_| Error::invalid("messages", format!("The {what} is not valid base64.")))
}

fn inference(sampling: Sampling) -> Option<converse::InferenceConfiguration> {
    let stop_sequences = sampling.stop_sequences;
    let configuration = converse::InferenceConfiguration::builder()
        .set_max_tokens(sampling.max_tokens.map(|most| i32::try_from(most).unwrap_or(i32::MAX)))
        .set_temperature(sampling.temperature)
        .set_top_p(sampling.top_p)
        .set_stop_sequences((!stop_sequences.is_empty()).then_some(stop_sequences))
        .build();
    (configuration != converse::InferenceConfiguration::builder().build()).then_some(configuration)
}

fn tools(tools: Vec<Tool>, choice: Option<ToolChoice>) -> Result<Option<converse::ToolConfiguration>, Error> {
    if tools.is_empty() {
        return Ok(None);
    }
    let tools = tools.into_iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let choice = choice.map(tool_choice).transpose()?;
    let configuration = converse::ToolConfiguration::builder().set_tools(Some(tools)).set_tool_choice(choice);
    configuration.build().map(Some).map_err(incomplete)
}

fn tool(tool: Tool) -> Result<converse::Tool, Error> {
    let specification = converse::ToolSpecification::builder()
        .name(tool.name)
        .set_description(tool.description.filter(|text| !is_blank(text)))
        .input_schema(converse::ToolInputSchema::Json(to_document(tool.schema)));
    specification.build().map(converse::Tool::ToolSpec).map_err(incomplete)
}

fn tool_choice(choice: ToolChoice) -> Result<converse::ToolChoice, Error> {
    Ok(match choice {
        ToolChoice::Auto => converse::ToolChoice::Auto(converse::AutoToolChoice::builder().build()),
        ToolChoice::Any => converse::ToolChoice::Any(converse::AnyToolChoice::builder().build()),
        ToolChoice::Named(name) => {
            let named = converse::SpecificToolChoice::builder().name(name).build().map_err(incomplete)?;
            converse::ToolChoice::Tool(named)
        }
    })
}

fn output(schema: &Value) -> Result<converse::OutputConfig, Error> {
    let definition = converse::JsonSchemaDefinition::builder().schema(schema.to_string()).name("answer");
    let structure = converse::OutputFormatStructure::JsonSchema(definition.build().map_err(incomplete)?);
    let format = converse::OutputFormat::builder().r#type(converse::OutputFormatType::JsonSchema);
    let format = format.structure(structure).build().map_err(incomplete)?;
    Ok(converse::OutputConfig::builder().text_format(format).build())
}

/// A builder of the SDK lacks a field: every one that it wants is set above.
fn incomplete(error: impl Display) -> Error {
    Error::new(Kind::Internal, "The gateway could not put this request together.").because(error)
}
