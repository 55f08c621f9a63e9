// Draws what an exported model finds on a photo, and prints a line for each object:
//   draw_detections model.onnx photo.jpg drawn.png [threshold]
// Resizing, normalising and selection are part of the model; what is left is to paste its masks.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// What the model says of itself, of the JSON in its metadata under "centermask".
struct Description {
  std::vector<std::string> class_names;
  bool inclusive = true;  // Corners of boxes are pixels; otherwise they are edges.
  float mask_threshold = 0.5f;
  int mask_padding = 1;
  double score_threshold = 0.5;
};

// The text of a JSON value, from the colon behind its key on.
std::string value_of(const std::string& json, const std::string& key, size_t from = 0) {
  const std::string name = "\"" + key + "\":";
  const size_t place = json.find(name, from);
  if (place == std::string::npos) throw std::runtime_error("the metadata lacks " + key);
  return json.substr(json.find_first_not_of(' ', place + name.size()));
}

// The strings of a JSON list; \uXXXX is shown as it is written.
std::vector<std::string> strings_of(const std::string& list) {
  std::vector<std::string> strings;
  for (size_t i = 1; i < list.size() && list[i] != ']'; ++i) {
    if (list[i] != '"') continue;
    std::string text;
    for (++i; i < list.size() && list[i] != '"'; ++i) {
      if (list[i] == '\\') ++i;
      text += list[i];
    }
    strings.push_back(text);
  }
  return strings;
}

Description read_description(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto text =
      session.GetModelMetadata().LookupCustomMetadataMapAllocated("centermask", allocator);
  if (!text) throw std::runtime_error("no export of centermask: its metadata are missing");
  const std::string json = text.get();
  if (std::atoi(value_of(json, "format_version").c_str()) != 1) {
    throw std::runtime_error("an export of another format_version than 1");
  }
  if (value_of(json, "kind").compare(0, 10, "\"detector\"") != 0) {
    throw std::runtime_error("a dense export gives maps, no detections");
  }
  Description description;
  description.class_names = strings_of(value_of(json, "class_names"));
  const std::string threshold = value_of(json, "score_threshold");
  if (threshold.compare(0, 4, "null") != 0)
    description.score_threshold = std::atof(threshold.c_str());
  const std::string paste = value_of(json, "mask_paste");
  if (paste.compare(0, 4, "null") != 0) {
    description.inclusive = value_of(paste, "rule").compare(0, 11, "\"inclusive\"") == 0;
    description.mask_threshold =
        static_cast<float>(std::atof(value_of(paste, "threshold").c_str()));
    description.mask_padding = std::atoi(value_of(paste, "padding").c_str());
  }
  return description;
}

// Which two cells of a padded mask each visible pixel of a box reads along one axis.
struct Axis {
  int start = 0;
  std::vector<int> lower, upper;
  std::vector<float> weight;

  void add(double position, int num_cells) {
    lower.push_back(std::min(static_cast<int>(position), num_cells - 1));
    upper.push_back(std::min(lower.back() + 1, num_cells - 1));
    weight.push_back(static_cast<float>(position - lower.back()));
  }
};

// A mask is resized to its box in whole pixels, both ends counted; it and the box are padded.
Axis inclusive_axis(float low, float high, int length, int side, int padding) {
  const int num_cells = side + 2 * padding;
  const float factor = static_cast<float>(static_cast<double>(num_cells) / side);
  const float center = (high + low) * 0.5f, half = (high - low) * 0.5f * factor;
  const int64_t first = static_cast<int64_t>(center - half);
  const int64_t full = std::max<int64_t>(static_cast<int64_t>(center + half) - first + 1, 1);
  const int64_t start = std::clamp<int64_t>(first, 0, length);
  const int64_t stop = std::clamp<int64_t>(first + full, start, length);
  const float scale = static_cast<float>(static_cast<double>(num_cells) / full);
  Axis axis;
  axis.start = static_cast<int>(start);
  for (int64_t i = start - first; i < stop - first; ++i) {
    axis.add(std::max((static_cast<float>(i) + 0.5f) * scale - 0.5f, 0.0f), num_cells);
  }
  return axis;
}

// Pixels read the mask where their centres lie in its box; one cell of zeros lies around it.
Axis sub_pixel_axis(double low, double high, int length, int side) {
  Axis axis;
  const double extent = high - low, margin = extent / (2 * side) + 0.5;
  if (!(extent > 0)) return axis;
  axis.start = static_cast<int>(std::ceil(std::clamp(low - margin, 0.0, double(length))));
  const int stop = static_cast<int>(std::floor(std::min(high + margin, double(length))));
  for (int i = axis.start; i < stop; ++i) {
    const double position = (i + 0.5 - low) * (side / extent) + 0.5;
    axis.add(std::clamp(position, 0.0, double(side + 1)), side + 2);
  }
  return axis;
}

// Which pixels of the photo are the object's.
cv::Mat paste(const cv::Mat& mask, const float* box, cv::Size size, const Description& about) {
  const int side = mask.rows, padding = about.inclusive ? about.mask_padding : 1;
  cv::Mat padded;
  cv::copyMakeBorder(mask, padded, padding, padding, padding, padding, cv::BORDER_CONSTANT, 0);
  const auto axis = [&](float low, float high, int length) {
    return about.inclusive ? inclusive_axis(low, high, length, side, padding)
                           : sub_pixel_axis(low, high, length, side);
  };
  const Axis columns = axis(box[0], box[2], size.width), rows = axis(box[1], box[3], size.height);
  cv::Mat pixels = cv::Mat::zeros(size, CV_8U);
  std::vector<float> row(padded.cols);
  for (size_t y = 0; y < rows.weight.size(); ++y) {
    const float* lower = padded.ptr<float>(rows.lower[y]);
    const float* upper = padded.ptr<float>(rows.upper[y]);
    const float share = rows.weight[y];
    for (int c = 0; c < padded.cols; ++c) row[c] = lower[c] * (1.0f - share) + upper[c] * share;
    uint8_t* target = pixels.ptr<uint8_t>(rows.start + static_cast<int>(y)) + columns.start;
    for (size_t x = 0; x < columns.weight.size(); ++x) {
      const float weight = columns.weight[x];
      const float value = row[columns.lower[x]] * (1.0f - weight) + row[columns.upper[x]] * weight;
      const bool is_inside =
          about.inclusive ? value > about.mask_threshold : value >= about.mask_threshold;
      target[x] = is_inside ? 255 : 0;
    }
  }
  return pixels;
}

void draw(cv::Mat& photo, const cv::Mat& mask, const float* box, const std::string& text,
          int64_t label) {
  cv::Mat hue(1, 1, CV_8UC3, cv::Scalar(label * 67 % 180, 200, 255)), bgr;
  cv::cvtColor(hue, bgr, cv::COLOR_HSV2BGR);
  const cv::Vec3b pixel = bgr.at<cv::Vec3b>(0, 0);
  const cv::Scalar colour(pixel[0], pixel[1], pixel[2]);
  if (!mask.empty()) {
    cv::Mat tinted;
    cv::addWeighted(photo, 0.58, cv::Mat(photo.size(), photo.type(), colour), 0.42, 0, tinted);
    tinted.copyTo(photo, mask);
    std::vector<std::vector<cv::Point>> contours;
    cv::findContours(mask, contours, cv::RETR_CCOMP, cv::CHAIN_APPROX_NONE);
    cv::drawContours(photo, contours, -1, colour, 2, cv::LINE_AA);
  }
  const cv::Point corner(cvRound(box[0]), cvRound(box[1]));
  cv::rectangle(photo, corner, cv::Point(cvRound(box[2]), cvRound(box[3])), colour, 1);
  int below = 0;
  const cv::Size extent = cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, 0.5, 1, &below);
  const cv::Point origin(std::max(corner.x, 0), std::max(corner.y, extent.height + 4));
  cv::rectangle(photo, {origin.x, origin.y - extent.height - 4},
                {origin.x + extent.width, origin.y + below}, colour, cv::FILLED);
  cv::putText(photo, text, origin, cv::FONT_HERSHEY_SIMPLEX, 0.5, {0, 0, 0}, 1, cv::LINE_AA);
}

int run(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: draw_detections model.onnx photo.jpg drawn.png [threshold]\n";
    return 2;
  }
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "draw_detections");
  Ort::Session session(environment, argv[1], Ort::SessionOptions());
  const Description about = read_description(session);
  const double threshold = argc > 4 ? std::atof(argv[4]) : about.score_threshold;

  // OpenCV turns the photo as its EXIF note says, and gives 8 bits and three channels.
  cv::Mat photo = cv::imread(argv[2], cv::IMREAD_COLOR), rgb;
  if (photo.empty()) throw std::runtime_error(std::string("cannot read the photo ") + argv[2]);
  cv::cvtColor(photo, rgb, cv::COLOR_BGR2RGB);
  const std::vector<int64_t> shape{rgb.rows, rgb.cols, 3};
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Ort::Value input =
      Ort::Value::CreateTensor<uint8_t>(memory, rgb.data, rgb.total() * 3, shape.data(), 3);

  std::vector<const char*> names{"boxes", "labels", "scores"};
  Ort::AllocatorWithDefaultOptions allocator;
  for (size_t i = 0; i < session.GetOutputCount(); ++i) {
    if (session.GetOutputNameAllocated(i, allocator).get() == std::string("masks")) {
      names.push_back("masks");
    }
  }
  const char* input_name = "image";
  const auto outputs =
      session.Run(Ort::RunOptions(), &input_name, &input, 1, names.data(), names.size());
  const float* boxes = outputs[0].GetTensorData<float>();
  const int64_t* labels = outputs[1].GetTensorData<int64_t>();
  const float* scores = outputs[2].GetTensorData<float>();
  const int64_t count = outputs[0].GetTensorTypeAndShapeInfo().GetShape()[0];
  for (int64_t k = 0; k < count; ++k) {
    if (scores[k] < static_cast<float>(threshold)) continue;
    cv::Mat mask;
    if (outputs.size() > 3) {
      const int side = static_cast<int>(outputs[3].GetTensorTypeAndShapeInfo().GetShape()[1]);
      // OpenCV takes no pointer to const; nothing is written.
      float* cells = const_cast<float*>(outputs[3].GetTensorData<float>()) + k * side * side;
      mask = paste(cv::Mat(side, side, CV_32F, cells), boxes + 4 * k, photo.size(), about);
    }
    const size_t index = static_cast<size_t>(labels[k] - 1);
    const std::string name =
        index < about.class_names.size() ? about.class_names[index] : std::to_string(labels[k]);
    const float* box = boxes + 4 * k;
    std::printf("%s %.4f %.2f %.2f %.2f %.2f %d\n", name.c_str(), scores[k], box[0], box[1], box[2],
                box[3], mask.empty() ? 0 : cv::countNonZero(mask));
    char text[16];
    std::snprintf(text, sizeof text, " %.2f", scores[k]);
    draw(photo, mask, box, name + text, labels[k]);
  }
  if (!cv::imwrite(argv[3], photo))
    throw std::runtime_error(std::string("cannot write ") + argv[3]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "draw_detections: " << error.what() << "\n";
    return 2;
  }
}
