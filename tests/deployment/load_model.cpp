// Runs a model that AOTInductor packaged, without Python: the recipe of docs/deployment.md.
#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdlib>
#include <iostream>

// load_model MODEL.pt2 ROWS COLUMNS: the model of a ramp from -1 to 1.
int main(int count, char** arguments) {
  if (count != 4) {
    std::cerr << "usage: load_model MODEL.pt2 ROWS COLUMNS\n";
    return 2;
  }
  const int64_t rows = std::atoll(arguments[2]), columns = std::atoll(arguments[3]);
  torch::inductor::AOTIModelPackageLoader model(arguments[1]);
  const at::Tensor x = at::linspace(-1, 1, rows * columns).reshape({rows, columns});
  std::cout.precision(9);
  for (const at::Tensor& out : model.run({x}))
    for (const float value : at::ArrayRef<float>(out.data_ptr<float>(), out.numel()))
      std::cout << value << "\n";
}
